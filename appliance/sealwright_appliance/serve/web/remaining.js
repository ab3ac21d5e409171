// How much time is left of something.

import { number, say } from "/page.js";

const DAY_S = 86_400;

export function left(seconds) {
  const days = Math.floor(seconds / DAY_S);
  return days ? say("administration.days", { days: number(days) })
    : say("administration.hours", { hours: number(Math.floor(seconds / 3600)) });
}
