/** Text made safe inside HTML. */
export function escape(text: string): string {
  return text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}

/** The first letter large. */
export const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

/** A table; cells are HTML already. The first column is left-aligned, the others right, or left where they hold text. */
export function table(head: readonly string[], rows: readonly (readonly string[])[], content: 'numbers' | 'text' = 'numbers'): string {
  const line = (cells: readonly string[], tag: string): string => `<tr>${cells.map((cell) => `<${tag}>${cell}</${tag}>`).join('')}</tr>`;
  return `<div class="scroll"><table class="${content}"><thead>${line(head, 'th')}</thead><tbody>${rows.map((row) => line(row, 'td')).join('')}</tbody></table></div>`;
}

export function figure(content: string, caption: string): string {
  return `<figure><div class="scroll">${content}</div><figcaption>${caption}</figcaption></figure>`;
}

export function picture(dataUri: string, alt: string): string {
  return `<img src="${dataUri}" alt="${escape(alt)}">`;
}

/** Pictures in rows with titles; cells that are undefined stay empty. `wide`: sheets of pictures rather than single ones. */
export function pictureGrid(columns: readonly string[], rows: readonly { title: string; cells: readonly (string | undefined)[] }[], size: 'small' | 'wide' = 'small'): string {
  const head = `<tr><th></th>${columns.map((column) => `<th>${escape(column)}</th>`).join('')}</tr>`;
  const row = ({ title, cells }: (typeof rows)[number]): string =>
    `<tr><th scope="row">${escape(title)}</th>${cells.map((cell, i) => `<td>${cell === undefined ? '' : picture(cell, `${title}, ${columns[i]}`)}</td>`).join('')}</tr>`;
  return `<div class="scroll"><table class="pictures ${size}"><thead>${head}</thead><tbody>${rows.map(row).join('')}</tbody></table></div>`;
}

export function section(title: string, ...content: readonly string[]): string {
  return `<section><h2>${escape(title)}</h2>${content.join('\n')}</section>`;
}

const STYLE = `
:root { color-scheme: light; --ink: #26231d; --soft: #6b665c; --paper: #fbfaf7; --line: #e6e3dc; --accent: #b34700; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 Inter, "Helvetica Neue", Helvetica, Arial, sans-serif; }
main { max-width: 860px; margin: 0 auto; padding: 48px 24px 72px; }
h1 { font-size: 30px; line-height: 1.2; letter-spacing: -0.015em; margin: 0 0 8px; }
h2 { font-size: 19px; letter-spacing: -0.005em; margin: 0 0 12px; }
section { margin-top: 44px; padding-top: 28px; border-top: 1px solid var(--line); }
p { margin: 0 0 12px; max-width: 68ch; }
.lead { font-size: 19px; line-height: 1.5; margin: 20px 0 0; }
.lead b { color: var(--accent); }
.soft, figcaption { color: var(--soft); font-size: 14px; }
figure { margin: 20px 0; }
figcaption { margin-top: 8px; max-width: 72ch; }
.scroll { overflow-x: auto; }
img { max-width: 100%; height: auto; image-rendering: auto; border-radius: 4px; display: block; }
svg { max-width: 100%; height: auto; display: block; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 6px 14px 6px 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
th { font-weight: 600; color: var(--soft); }
.text th, .text td { text-align: left; white-space: normal; padding-right: 28px; }
.pictures th, .pictures td { text-align: left; padding: 0 8px 8px 0; border: 0; vertical-align: top; }
.pictures tbody th { white-space: normal; width: 9em; min-width: 7em; font-weight: normal; color: var(--ink); }
.pictures.small img { width: 128px; min-width: 128px; }
code, pre { font: 13px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
pre { background: #f3f0e9; padding: 14px 16px; border-radius: 6px; overflow-x: auto; }
ul { padding-left: 20px; margin: 0; } li { margin: 4px 0; max-width: 68ch; }
footer { margin-top: 56px; color: var(--soft); font-size: 13px; }
`;

/** A page that needs nothing but itself. */
export function page(title: string, body: string): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escape(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
${body}
</main>
</body>
</html>
`;
}
