"use strict";

// Relative to /api/docs, whatever stands before it. Nobody but this server is asked for anything.
Scalar.createApiReference("#reference", {
  url: new URL("openapi.json", document.baseURI).href,
  proxyUrl: "",
  withDefaultFonts: false,
  telemetry: false,
  agent: { disabled: true },
  mcp: { disabled: true },
  showDeveloperTools: "never",
  hideClientButton: true,
  persistAuth: false,
  documentDownloadType: "direct",
  defaultOpenAllTags: true,
});
