//! The plugin on the stage of the SDK's test kit.

mod api;
mod ingest;
mod namespaces;
mod reload;
mod stream;
mod support;
