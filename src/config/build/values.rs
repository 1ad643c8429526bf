//! The values that texts stand for.

use super::super::file::Value;
use super::super::layers::Found;
use super::super::{Env, Listen, LogFormat, LogLevel};
use super::MAX_SOCKET_PATH;
use crate::model::quantity::{QuantityError, parse_duration_text, parse_size_text};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

pub(super) fn env_from(found: &Found) -> Result<Env, &'static str> {
    match found.shown().as_str() {
        "development" => Ok(Env::Development),
        "production" => Ok(Env::Production),
        "staging" => Ok(Env::Staging),
        "test" => Ok(Env::Test),
        _ => Err("there is no such environment"),
    }
}

pub(super) fn level_from(found: &Found) -> Result<LogLevel, &'static str> {
    match found.shown().as_str() {
        "debug" => Ok(LogLevel::Debug),
        "info" => Ok(LogLevel::Info),
        "warn" => Ok(LogLevel::Warn),
        "error" => Ok(LogLevel::Error),
        _ => Err("there is no such level"),
    }
}

pub(super) fn format_from(found: &Found) -> Result<LogFormat, &'static str> {
    match found.shown().as_str() {
        "json" => Ok(LogFormat::Json),
        "pretty" => Ok(LogFormat::Pretty),
        "journald" => Ok(LogFormat::Journald),
        _ => Err("there is no such format"),
    }
}

pub(super) fn host_from(found: &Found, port: u16) -> Result<Listen, String> {
    let text = found.shown();
    if let Some(path) = text.strip_prefix("unix:") {
        if !path.starts_with('/') {
            return Err("the path of the socket is not absolute".into());
        }
        if path.len() > MAX_SOCKET_PATH {
            return Err("the path of the socket is longer than 107 bytes".into());
        }
        return Ok(Listen::Unix(path.into()));
    }
    if text == "localhost" {
        return Ok(Listen::Tcp { host: Ipv4Addr::LOCALHOST.into(), port });
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&text);
    let host: IpAddr = bare.parse().map_err(|_| "it is no IP address".to_owned())?;
    Ok(Listen::Tcp { host, port })
}

/// As in a manifest: a number in the file is seconds, and a text needs a unit.
pub(super) fn duration_from(found: &Found) -> Result<Duration, String> {
    let text = match &found.value {
        Value::Number(seconds) => format!("{seconds}s"),
        _ => found.shown(),
    };
    parse_duration_text(&text).map_err(|e: QuantityError| e.to_string())
}

pub(super) fn size_from(found: &Found) -> Result<u64, String> {
    match parse_size_text(&found.shown()) {
        Ok(0) => Err("it is 0".into()),
        Ok(bytes) => Ok(bytes),
        Err(e) => Err(e.to_string()),
    }
}
