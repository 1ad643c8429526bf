/** Bun's own classes, taken before the shim or an app replaces a global. */
export const NativeRequest = globalThis.Request;
export const NativeResponse = globalThis.Response;
export const nativeFetch = globalThis.fetch;
