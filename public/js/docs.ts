// Starts Swagger UI, which brings itself as a global: an inline script would be refused by the content policy.
declare const SwaggerUIBundle: (options: { url: string; dom_id: string; deepLinking: boolean; validatorUrl: null }) => void

const place = document.querySelector<HTMLElement>('#swagger-ui')
SwaggerUIBundle({ url: place?.dataset['spec'] ?? '/openapi.json', dom_id: '#swagger-ui', deepLinking: true, validatorUrl: null })
