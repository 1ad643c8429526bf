//! What a script plugin's answers mean, and what of them is internal.

use crate::plugin::manifest::Hooks as Declared;
use crate::wire::message::ResponseHead;
use buntime_plugin::{
    Body, Caller, Error, Flow, Hooks, Problem, Request, Response, Result, WorkerEvent, websocket,
};
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use std::collections::BTreeMap;
use std::time::Duration;

const FLOW: &str = "x-buntime-flow";
const METHOD: &str = "x-buntime-method";
const URL: &str = "x-buntime-url";
const BODY: &str = "x-buntime-body";
/// What is said of the client, and how it came. From outside it is not believed here any more.
const FORWARDED: [&str; 5] =
    ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded", "x-base"];
/// Headers of this prefix are between the supervisor and its plugins.
const INTERNAL: &str = "x-buntime-";

/// What a manifest declares, as the host knows hooks.
pub fn declared(declared: &Declared, has_base: bool) -> Hooks {
    let mut hooks = Hooks::new();
    for hook in &declared.on_request {
        let filter = hook.hook.filter.clone();
        hooks = match hook.hook.body {
            true => hooks.request_with_body(hook.phase, filter),
            false => hooks.request(hook.phase, filter),
        };
    }
    if let Some(hook) = &declared.on_response {
        hooks = hooks.response(hook.filter.clone());
    }
    if let Some(fetch) = &declared.fetch {
        hooks = hooks.fetch(fetch.clone());
    }
    hooks.routes = has_base;
    hooks.workers = declared.on_worker_spawn.is_some() || declared.on_worker_terminate.is_some();
    hooks
}

/// Which hook hears of a worker's new state, if one wants to.
pub fn worker_hook(declared: &Declared, event: &WorkerEvent) -> Option<&'static str> {
    let (hook, filter) = match event.to {
        "ready" => ("worker-spawn", declared.on_worker_spawn.as_ref()?),
        "terminated" => ("worker-terminate", declared.on_worker_terminate.as_ref()?),
        _ => return None,
    };
    // It is a filter of apps alone.
    let app = event.app.as_ref()?;
    filter.matches(&Method::GET, "/", Some(app)).then_some(hook)
}

/// What a module is told of whoever asks. Names, permissions and namespaces are ASCII.
pub fn caller(caller: &dyn Caller) -> String {
    let namespaces = caller.namespaces().map_or_else(|| "all".into(), serde_json::Value::from);
    let (name, permissions) = (caller.name(), caller.permissions());
    serde_json::json!({ "name": name, "permissions": permissions, "namespaces": namespaces }).to_string()
}

/// What such a hook is told.
pub fn worker(event: &WorkerEvent) -> serde_json::Value {
    let app = event.app.as_ref();
    let worker = serde_json::json!({
        "id": event.worker,
        "pid": event.pid,
        "app": app.map(|app| &app.name),
        "version": app.map(|app| &app.version),
        "state": event.to,
    });
    serde_json::json!({ "worker": worker, "app": app, "reason": event.reason })
}

/// What becomes of a request.
pub fn of_request(
    mut head: ResponseHead,
    body: Body,
    request: &mut Request,
    withheld: &[HeaderName],
) -> Result<Flow> {
    let internal = take_internal(&mut head.headers);
    match internal.get(FLOW).map(String::as_str) {
        Some("continue") => {
            // It was lent the body and has not looked at it.
            if replaces(&internal) {
                request.restore_body(body);
            }
            Ok(Flow::Continue)
        }
        Some("replace") => {
            let method = internal.get(METHOD).map(|method| method.parse::<Method>()).transpose();
            let method =
                method.map_err(|error| Error::new("the request's new method is none").because(error))?;
            let url = internal.get(URL).map(|url| url.parse::<Uri>()).transpose();
            let url = url.map_err(|error| Error::new("the request's new URL is none").because(error))?;
            if let Some(method) = method {
                request.set_method(method);
            }
            let path = url.and_then(|url| url.into_parts().path_and_query);
            if let Some(path) = path.filter(|path| Some(path) != request.uri().path_and_query()) {
                request.set_path_and_query(path);
            }
            replace_headers(request, head.headers, withheld);
            if replaces(&internal) {
                request.set_body(body);
            }
            Ok(Flow::Continue)
        }
        Some("respond") => Ok(Flow::Respond(response(head, body))),
        // The shim itself: what HTTP lets through is none to `Request`.
        None if head.status == StatusCode::BAD_REQUEST => {
            let problem = Problem::new(StatusCode::BAD_REQUEST, "bad_request");
            Ok(Flow::Refuse(problem.detail("The URL or the method of the request is not valid.")))
        }
        other => Err(Error::new(format!("its answer says {other:?} of the request, which means nothing"))),
    }
}

/// What of a request's headers its plugin does not see, such as keys of the operator.
pub fn withheld(request: &Request, seen: &HeaderMap) -> Vec<HeaderName> {
    request.headers().keys().filter(|name| !seen.contains_key(*name)).cloned().collect()
}

/// What the plugin did not see it cannot have removed.
fn replace_headers(request: &mut Request, mut headers: HeaderMap, withheld: &[HeaderName]) {
    // They were said to it of the client, and are said to an app anew.
    FORWARDED.iter().for_each(|name| drop(headers.remove(*name)));
    for name in withheld {
        if !headers.contains_key(name) {
            headers.extend(request.headers().get_all(name).iter().map(|value| (name.clone(), value.clone())));
        }
    }
    for name in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION, header::EXPECT] {
        headers.remove(&name);
        if let Some(value) = request.headers().get(&name) {
            headers.insert(name, value.clone());
        }
    }
    *request.headers_mut() = headers;
}

/// What becomes of an answer.
pub fn of_response(mut head: ResponseHead, body: Body, answer: &mut Response) -> Result<()> {
    let internal = take_internal(&mut head.headers);
    match internal.get(FLOW).map(String::as_str) {
        Some("continue") => {
            if replaces(&internal) {
                *answer.body_mut() = body;
            }
            Ok(())
        }
        Some("respond") => {
            let keeps = internal.get(BODY).is_some_and(|word| word == "keep");
            let kept = std::mem::take(answer.body_mut());
            let length = answer.headers_mut().remove(header::CONTENT_LENGTH).filter(|_| keeps);
            let extensions = std::mem::take(answer.extensions_mut());
            *answer = response(head, if keeps { kept } else { body });
            *answer.extensions_mut() = extensions;
            if let Some(length) = length {
                answer.headers_mut().insert(header::CONTENT_LENGTH, length);
            }
            Ok(())
        }
        other => Err(Error::new(format!("its answer says {other:?} of the response, which means nothing"))),
    }
}

/// An answer of its own, and whether it is none: the request is not the plugin's.
pub fn answer(mut head: ResponseHead, body: Body) -> (Response, bool) {
    let internal = take_internal(&mut head.headers);
    let passed = internal.get(FLOW).is_some_and(|word| word == "pass");
    (response(head, body), passed)
}

/// Whether a request is answered with a WebSocket.
pub fn is_upgrade(head: &ResponseHead) -> bool {
    !head.fin && head.headers.get(FLOW).is_some_and(|flow| flow == "upgrade")
}

/// How a socket is to be opened, and what else the client is told.
pub fn socket(headers: &mut HeaderMap) -> websocket::Options {
    let internal = take_internal(headers);
    let number = |name: &str| internal.get(name).and_then(|number| number.parse::<u64>().ok());
    let max_message = number("x-buntime-max-payload").unwrap_or(u64::MAX).min(websocket::MAX_MESSAGE as u64);
    let idle = number("x-buntime-idle").filter(|seconds| *seconds > 0).map(Duration::from_secs);
    let protocol = headers.remove(header::SEC_WEBSOCKET_PROTOCOL);
    for name in [
        header::CONNECTION,
        header::UPGRADE,
        header::SEC_WEBSOCKET_ACCEPT,
        header::SEC_WEBSOCKET_EXTENSIONS,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::TRAILER,
    ] {
        headers.remove(name);
    }
    websocket::Options { max_message: max_message as usize, idle, protocol }
}

fn response(head: ResponseHead, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE, header::TRAILER] {
        response.headers_mut().remove(&name);
    }
    if head.fin {
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    response
}

/// A response's head as a hook gets it: its length in four bytes, big-endian, and `[status, text, [name, value, …]]`.
pub fn head_of(response: &Response) -> Bytes {
    let mut headers = Vec::with_capacity(2 * response.headers().len());
    for (name, value) in response.headers() {
        headers.push(rmpv::Value::from(name.as_str()));
        headers.push(rmpv::Value::Binary(value.as_bytes().to_vec()));
    }
    let text = response.status().canonical_reason().unwrap_or_default();
    let head =
        rmpv::Value::Array(vec![response.status().as_u16().into(), text.into(), rmpv::Value::Array(headers)]);
    let mut packed = Vec::new();
    rmpv::encode::write_value(&mut packed, &head).unwrap_or_default(); // a Vec takes everything
    let mut bytes = BytesMut::with_capacity(4 + packed.len());
    bytes.put_u32(packed.len() as u32);
    bytes.put_slice(&packed);
    bytes.freeze()
}

type Internal = BTreeMap<String, String>;

fn replaces(internal: &Internal) -> bool {
    internal.get(BODY).is_some_and(|word| word == "replace")
}

/// Takes the internal headers out.
fn take_internal(headers: &mut HeaderMap) -> Internal {
    let names: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with(INTERNAL)).cloned().collect();
    let take = |name: HeaderName| {
        let value = headers.remove(&name)?;
        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
    };
    names.into_iter().filter_map(take).collect()
}

/// Drops what looks internal and is from outside.
pub fn keep_internal(headers: &mut HeaderMap) {
    take_internal(headers);
}

/// Says what is believed of the client, in the place of what somebody has said.
pub fn say_client(headers: &mut HeaderMap, request: &Request) {
    FORWARDED.iter().for_each(|name| drop(headers.remove(*name)));
    let client = request.client.and_then(|client| HeaderValue::try_from(client.to_string()).ok());
    if let Some(client) = client {
        headers.insert(FORWARDED[0], client);
    }
    let scheme = if request.https { "https" } else { "http" };
    headers.insert(FORWARDED[1], HeaderValue::from_static(scheme));
    headers.insert(FORWARDED[2], request.host.clone());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&'static str, &'static str)]) -> Request {
        let head = http::Request::new(()).into_parts().0;
        let mut request =
            Request::from_parts(head, HeaderValue::from_static("h"), HeaderValue::from_static("1"), None);
        *request.headers_mut() = map(headers);
        request
    }

    fn map(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        pairs.collect()
    }

    #[test]
    fn what_a_plugin_has_removed_stays_removed_and_what_it_has_not_seen_stays() {
        for (seen, expected) in [
            (
                &[("authorization", "of the client"), ("x-a", "1")][..],
                &[("x-new", "1"), ("x-api-key", "operator's")][..],
            ),
            (
                &[("x-a", "1")],
                &[("x-new", "1"), ("authorization", "of the client"), ("x-api-key", "operator's")],
            ),
        ] {
            let mut request =
                request(&[("authorization", "of the client"), ("x-api-key", "operator's"), ("x-a", "1")]);
            let withheld = withheld(&request, &map(seen));
            replace_headers(&mut request, map(&[("x-new", "1"), ("x-forwarded-for", "6.6.6.6")]), &withheld);
            assert_eq!(*request.headers(), map(expected));
        }
    }
}
