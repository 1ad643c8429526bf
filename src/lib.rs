//! Buntime: one binary that runs a fleet of Bun apps as supervised worker processes.
//!
//! A request goes through the modules from left to right, and its answer back the same way:
//!
//! `http → apps → pool → worker → wire`
//!
//! A module knows only what stands to its right; `model`, `manifest`, `config`, `telemetry`, `events`, `tls` and `uproot` are leaves that all may use.

pub mod access; // who may do what: keys, roles, namespaces
pub mod api; // the management API, on the public listener and on the admin socket
pub mod apps; // what can be served: index, versions, manifests, entrypoints, watching
pub mod cli; // one file a command
pub mod config; // flags + environment + file → one validated Config
pub mod dev; // what is done beside serving while apps are edited
pub mod events; // what happens, for whoever wants to watch
pub mod http; // the public side: listener, limits, pipeline, errors, static files, base injection
mod inherit; // sockets from the service manager, or from the process that this one replaces; a leaf
pub mod manifest; // reading YAML that people write, with the place of every error
pub mod model; // values everyone speaks: names, versions, durations, sizes, manifests
pub mod package; // uploaded archives: unpacking, checking, installing, packing
pub mod plugin; // the host of plugins: discovery, order, hooks, reload
pub mod pool; // many workers: choosing, scaling, spares, queues, recycling
pub mod server; // the house put together
mod shim; // the worker shim inside this binary, and what bun makes of it
mod shortage; // what the machine has too little of, told from an error of the system; a leaf
pub mod store; // what must survive: keys, aliases, disabled versions and the audit log in SQLite
pub mod telemetry; // logs and metrics
#[cfg(test)]
mod testing; // what several modules' tests need
mod tls; // certificates: which one a client gets, where they come from, what other servers are known by; a leaf
mod uproot; // removing a tree that an app has worked in; a leaf
pub mod wire; // frames and their codec; depends on nothing of ours
pub mod worker; // one bun process: spawn, link, life
