/** What has broken one product or another: for every place that takes text. */
export const hostile: readonly string[] = [
  'a\u0000b',
  '\ud800',
  'a\udc00b',
  '\u202eevil\u2066\u200b',
  'e\u0301\u{1f468}\u200d\u{1f469}',
  '__proto__',
  'constructor',
  'toString',
  `'; drop table events; --`,
  `" or 1=1 --`,
  '<script>alert(1)</script><img src=x onerror=alert(1)>',
  '<%= 7*7 %> ${7*7} {{7*7}}',
  '\r\nSet-Cookie: a=b',
  '\u001b[2J\u2028\ufeff',
  '../../../etc/passwd',
  ' ',
  'NULL',
  // As long as a body may be.
  'x'.repeat(900_000),
]
