/** One wrong field of a request, in words for the person who sent it. */
export interface FieldError {
  field: string
  message: string
}

/** An error whose message is meant for the person at the screen. Everything else is a bug and is shown as such. */
export class AppError extends Error {
  readonly fields: readonly FieldError[] = []
  readonly retryAfterSeconds: number | null = null

  constructor(
    readonly status: number,
    readonly title: string,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options)
    this.name = new.target.name
  }
}

export class Malformed extends AppError {
  constructor(message: string) {
    super(400, 'Malformed request', message)
  }
}

/** Nobody is signed in, or the credentials are wrong: the same words for both, so that accounts cannot be guessed. */
export class Unauthorized extends AppError {
  constructor(message = 'Sign in to see this.') {
    super(401, 'Sign in first', message)
  }
}

export class Forbidden extends AppError {
  constructor(message = 'Your role does not allow this.') {
    super(403, 'Not allowed', message)
  }
}

/** What another site made a browser send. */
export class OtherSite extends Forbidden {
  constructor() {
    super('This request came from another site, so it was not carried out.')
  }
}

export class NotFound extends AppError {
  constructor(message = 'There is nothing here, or it is not yours to see.') {
    super(404, 'Not found', message)
  }
}

export class Conflict extends AppError {
  constructor(message: string) {
    super(409, 'Conflict', message)
  }
}

export class TooLarge extends AppError {
  constructor(message: string) {
    super(413, 'Too large', message)
  }
}

export class UnsupportedType extends AppError {
  constructor(message: string) {
    super(415, 'Unsupported content', message)
  }
}

export class Invalid extends AppError {
  constructor(
    override readonly fields: readonly FieldError[],
    message = fields.map((error) => (error.field ? `${error.field}: ${error.message}` : error.message)).join('; '),
  ) {
    super(422, 'Invalid input', message)
  }
}

export class TooMany extends AppError {
  constructor(
    message: string,
    override readonly retryAfterSeconds: number,
  ) {
    super(429, 'Too many requests', message)
  }
}

/** A dependency does not answer: its name is part of the message, and the caller may come back. */
export class Unavailable extends AppError {
  override readonly retryAfterSeconds = 5

  constructor(dependency: string, message: string, options?: ErrorOptions) {
    super(503, `${dependency} is not available`, message, options)
  }
}

export const asError = (thrown: unknown): Error => (thrown instanceof Error ? thrown : new Error(String(thrown)))
