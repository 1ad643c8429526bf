/** Bun's own classes, taken before the shim or an app replaces a global, and what it takes to replace one. */
export const NativeRequest = globalThis.Request;
export const NativeResponse = globalThis.Response;
export const NativeWorker = globalThis.Worker;
export const nativeFetch = globalThis.fetch;

/**
 * A class whose instances are objects that exist already, so that a subclass can put private
 * fields on them: a mark that costs what a property costs and that the app cannot see.
 */
export class Existing {
  constructor(object: object) {
    return object;
  }
}

/**
 * Makes `replacement` pass for `original`: same prototype object (so `instanceof` and every
 * method work both ways), statics, name and length.
 */
export function impersonate(replacement: Function, original: Function): void {
  Object.setPrototypeOf(replacement, original);
  replacement.prototype = original.prototype;
  defineHidden(replacement, "name", original.name);
  defineHidden(replacement, "length", original.length);
  if (original.prototype !== undefined) original.prototype.constructor = replacement;
}

/** Defines a property as built-ins have them: writable, not enumerable. */
export function defineHidden(target: object, name: string, value: unknown): void {
  Object.defineProperty(target, name, { value, writable: true, configurable: true, enumerable: false });
}
