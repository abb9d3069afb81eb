/** Money, times and numbers as people read them. */

const dates = new Intl.DateTimeFormat(undefined, {
  weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit",
});
const times = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit", minute: "2-digit", second: "2-digit",
});
const hours = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const counts = new Intl.NumberFormat(undefined);

/** {amount in minor units, currency} */
export function money({ amount, currency }) {
  const format = new Intl.NumberFormat(undefined, { style: "currency", currency });
  const digits = format.resolvedOptions().maximumFractionDigits;
  const whole = amount % 10 ** digits === 0;
  return new Intl.NumberFormat(undefined, {
    style: "currency", currency, minimumFractionDigits: whole ? 0 : digits,
  }).format(amount / 10 ** digits);
}

/** A duration as 4:05, 1:02:03 or 2 d 03:00:00, rounded up to the second that is running. */
export function clock(milliseconds) {
  const all = Math.ceil(Math.max(0, milliseconds) / 1000);
  const [days, hours] = [Math.floor(all / 86_400), Math.floor((all % 86_400) / 3600)];
  const [minutes, seconds] = [Math.floor((all % 3600) / 60), all % 60];
  const two = (number) => String(number).padStart(2, "0");
  if (days > 0) return `${days} d ${two(hours)}:${two(minutes)}:${two(seconds)}`;
  return hours > 0 ? `${hours}:${two(minutes)}:${two(seconds)}` : `${minutes}:${two(seconds)}`;
}

/** A duration in words, for screen readers and where seconds do not matter. */
export function inWords(milliseconds) {
  const seconds = Math.ceil(Math.max(0, milliseconds) / 1000);
  if (seconds < 90) return `${seconds} second${seconds === 1 ? "" : "s"}`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return `${minutes} minutes`;
  const hours = Math.round(minutes / 60);
  return hours < 36 ? `${hours} hours` : `${Math.round(hours / 24)} days`;
}

/** An instant with its date, to the minute. */
export function dayAndTime(instant) {
  return dates.format(new Date(instant));
}

/** An instant of today, to the minute. */
export function hourAndMinute(instant) {
  return hours.format(new Date(instant));
}

/** An instant of today, to the second. */
export function timeOfDay(instant) {
  return times.format(new Date(instant));
}

/** A number with separators: 12,345. */
export function count(number) {
  return counts.format(number);
}
