// All text of the page in its language, as the box has it.

const language = document.documentElement.lang;
/** How dates and numbers look: as the browser's user has them in this language. */
export const locale = navigator.languages?.find((name) => name.split("-")[0] === language) ?? language;

const plural = new Intl.PluralRules(language);
const answer = await fetch(`/assets/${language}.json`).catch(() => null);
const texts = answer?.ok ? await answer.json().catch(() => ({})) : {};

/** The text of `key`, with `values` in their places. With a `count` there may be one text for each plural form. */
export function t(key, values = {}) {
  const text = texts[key] ?? texts[`${key}.${plural.select(values.count ?? 0)}`] ?? texts[`${key}.other`] ?? key;
  return text.replace(/\{(\w+)\}/g, (place, name) => {
    const value = values[name];
    return typeof value === "number" ? value.toLocaleString(locale) : (value ?? place);
  });
}

/** The text of `name` among those that begin with `prefix`; the name itself where there is none. */
export const named = (prefix, name) => texts[`${prefix}.${name}`] ?? String(name).replaceAll("_", " ");

/** A reason of the box in the page's language: its own words where its cause is not known. */
export function because(cause, words) {
  if (!cause || texts[`cause.${cause.code}`] === undefined) return words ?? "";
  const values = cause.values ?? {};
  return t(`cause.${cause.code}`, { ...values, reason: because(cause.because, values.reason) });
}
