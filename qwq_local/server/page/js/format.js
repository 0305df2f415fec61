// Figures as people read them (pure).

const WHOLE = new Intl.NumberFormat("en");

/** 12345 -> "12,345" */
export const count = (number) => WHOLE.format(Math.round(number));

/** 75.4 -> "1 min 15 s"; under ten seconds with a tenth, where `isExact`. */
export function duration(seconds, isExact = false) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${isExact && seconds < 10 ? Math.max(0, seconds).toFixed(1) : whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** 1 -> "1 token", 345 -> "345 tokens" */
export const tokens = (number) => `${count(number)} ${number === 1 ? "token" : "tokens"}`;

/** Tokens a second: "7.3 tokens/s", "132 tokens/s". */
export const speed = (perSecond) => `${perSecond < 100 ? perSecond.toFixed(1) : count(perSecond)} tokens/s`;

/** Bytes in GiB, or in MiB where that is clearer. */
export function bytes(number) {
  const mib = number / 2 ** 20;
  return mib < 1000 ? `${mib < 10 ? mib.toFixed(1) : count(mib)} MiB` : `${(mib / 1024).toFixed(1)} GiB`;
}

const DAY = 86_400_000;

/** Under which heading of the list a chat stands. @param {number} unixSeconds */
export function day(unixSeconds, now = Date.now()) {
  const midnight = new Date(now).setHours(0, 0, 0, 0);
  const at = unixSeconds * 1000;
  if (at >= midnight) return "Today";
  if (at >= midnight - DAY) return "Yesterday";
  if (at >= midnight - 6 * DAY) return "This week";
  return new Date(at).toLocaleDateString("en", { month: "long", year: "numeric" });
}

/**
 * A text in parts, told apart by whether they were found. Spans count code points, as the server does.
 * @param {string} text @param {[number, number][]} spans
 * @returns {{text: string, isFound: boolean}[]}
 */
export function marked(text, spans) {
  const points = Array.from(text);
  const parts = [];
  let at = 0;
  for (const [start, end] of spans) {
    parts.push({ text: points.slice(at, start).join(""), isFound: false }, { text: points.slice(start, end).join(""), isFound: true });
    at = end;
  }
  parts.push({ text: points.slice(at).join(""), isFound: false });
  return parts.filter((part) => part.text);
}
