/** The numbers of a slider: where the thumb is, what it means, how it is written. */
import { readable } from "../core/strings.js";

const TRACK = 1000;

/** Position of the thumb ↔ value; logarithmic tracks and tracks without a step have a thousand positions. */
export function sliderScale({ low, high, step, log, integer }) {
  const tidy = (value) => {
    const clamped = Math.min(high, Math.max(low, value));
    return integer ? Math.round(clamped) : Number(clamped.toPrecision(12));
  };
  if (!log && step) return { min: low, max: high, step, position: (value) => value, value: tidy };
  if (!log) {
    return { min: 0, max: TRACK, step: 1, position: (value) => ((value - low) / (high - low)) * TRACK, value: (at) => tidy(Number((low + ((high - low) * at) / TRACK).toPrecision(4))) };
  }
  const ratio = Math.log(high / low);
  const snap = (value) => (step ? low + Math.round((value - low) / step) * step : Number(value.toPrecision(3)));
  return { min: 0, max: TRACK, step: 1, position: (value) => (Math.log(value / low) / ratio) * TRACK, value: (at) => (at >= TRACK ? high : at <= 0 ? low : tidy(snap(low * Math.exp((ratio * at) / TRACK)))) };
}

/** With as many decimals as the step has, so that the number does not jump in width. */
export function shownValue({ step, integer, log, unit }, value) {
  const decimals = integer || log || !step ? null : (String(step).split(".")[1] ?? "").length;
  const number = decimals === null ? readable(value) : value.toFixed(decimals).replace("-", "−");
  return unit ? `${number} ${unit}` : number;
}

/** A step that gives about a hundred positions: 1, 2 or 5 times a power of ten. */
export function niceStep(low, high) {
  const raw = (high - low) / 100;
  const power = 10 ** Math.floor(Math.log10(raw));
  return Number(([1, 2, 5, 10].find((factor) => factor * power >= raw * 0.999) * power).toPrecision(6));
}
