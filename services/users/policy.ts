import type { Context } from '../../monitoring/context'
import { covers, may } from '../../monitoring/permissions'
import type { PersonRow } from './queries'

/** What can be done to a person. */
export type Deed = 'role' | 'disable' | 'reset' | 'remove' | 'sessions'

/** What reaches the account itself, and with it every organisation it belongs to. */
const reachesFurther: readonly Deed[] = ['disable', 'reset']

/** Why the actor may not do this to that person, in words; null when they may. */
export function whyNot(ctx: Context, person: PersonRow, deed: Deed): string | null {
  const { actor } = ctx
  if (!may(actor, 'users.manage')) return 'Your role does not allow to manage people.'
  if (person.id === actor.id && deed !== 'role')
    return 'This is your own account. Your profile has what you can change yourself; the rest is for another admin.'
  if (person.instance_admin && !may(actor, 'accounts.manage')) return 'Only an instance admin can do this to an instance admin.'
  if (!covers(actor.rights, person.rights)) return `${person.username} may do things that you may not.`
  if (person.elsewhere > 0 && reachesFurther.includes(deed) && !may(actor, 'accounts.manage'))
    return `${person.username} also belongs to another organisation: an instance admin can do this. You can remove the account from this one.`
  return null
}
