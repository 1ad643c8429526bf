//! What the supervisor answers itself: health, what it is, and why an app gave no answer.

use super::forward::Unanswered;
use super::problem::{Code, Problem, Report, Step};
use crate::model::App;
use crate::pool::core::types::Refusal;
use crate::pool::{Pool, Refused, StartFailure, Starts};
use crate::store::Condition;
use crate::worker::link::{Failure, RequestBody};
use buntime_plugin::Body;
use http::header::{self, HeaderValue};
use http::{Method, Response, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

/// `make`'s answer to GET and HEAD.
///
/// # Errors
/// 405 for every other method.
pub fn read_only(method: &Method, make: impl FnOnce() -> Response<Body>) -> Result<Response<Body>, Problem> {
    match *method {
        Method::GET => Ok(make()),
        Method::HEAD => {
            let mut response = make();
            if let Body::Full(body) = std::mem::take(response.body_mut()) {
                response.headers_mut().insert(header::CONTENT_LENGTH, body.len().into());
            }
            Ok(response)
        }
        _ => {
            Err(Problem::new(Code::MethodNotAllowed)
                .header(header::ALLOW, HeaderValue::from_static("GET, HEAD")))
        }
    }
}

/// `{prefix}/api/health…`; none = something else was asked for.
pub fn health(
    pool: &Pool,
    state: Condition,
    leaving: bool,
    method: &Method,
    rest: &str,
) -> Option<Result<Response<Body>, Problem>> {
    match rest {
        "/health" | "/health/ready" => Some(read_only(method, || readiness(pool, state, leaving))),
        "/health/live" => Some(read_only(method, liveness)),
        _ => None,
    }
}

/// The process runs and answers.
fn liveness() -> Response<Body> {
    document(StatusCode::OK, &json!({ "status": "ok" }))
}

/// Whether requests should be sent here. Where nothing can be changed, or nothing further be loaded, they are answered all the same:
/// a balancer that sent them elsewhere would make the shortage one of all machines.
fn readiness(pool: &Pool, state: Condition, leaving: bool) -> Response<Body> {
    let starts = pool.starts();
    let ready = !leaving && starts != Starts::Fail;
    let status = match (ready, state, starts) {
        (false, ..) => "unavailable",
        (true, Condition::Writable, Starts::Succeed) => "ok",
        (true, ..) => "degraded",
    };
    let body = json!({
        "status": status,
        "checks": {
            "listener": if leaving { "draining" } else { "ok" },
            "workers": match starts {
                Starts::Succeed => "ok",
                Starts::Starve => "nothing is left to start a worker with",
                Starts::Fail => "no worker can be started",
            },
            "state": state.as_str(),
        }
    });
    document(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &body)
}

/// `/.well-known/buntime`
pub fn about(api_base: &str) -> Response<Body> {
    let body = json!({ "name": "buntime", "version": env!("CARGO_PKG_VERSION"), "api": api_base });
    document(StatusCode::OK, &body)
}

pub fn no_content() -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// 308 to a path of ours. Only navigations are sent there, so what a cache keeps of it is for them alone.
pub fn permanent_redirect(location: &str) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

/// Why a request got no answer of its app.
pub fn unanswered(app: &App, why: Unanswered) -> Problem {
    match why {
        Unanswered::Refused(refused) => refusal(refused),
        Unanswered::Failed(failure) => failed(app, failure),
    }
}

fn too_large(limit: u64) -> Problem {
    Problem::new(Code::BodyTooLarge)
        .detail(format!("This app takes request bodies of at most {limit} bytes."))
        .hint("The manifest's maxBodySize sets the limit.")
}

fn refusal(Refused { why, failure }: Refused) -> Problem {
    let problem = match why {
        Refusal::QueueFull => Problem::new(Code::QueueFull).retry_after(Duration::from_secs(1)),
        Refusal::QueueTimeout => Problem::new(Code::QueueTimeout).retry_after(Duration::from_secs(1)),
        Refusal::BackOff(after) => Problem::new(Code::BackOff).retry_after(after),
        Refusal::StartFailed => Problem::new(Code::StartFailed).retry_after(Duration::from_secs(1)),
        Refusal::StartTimeout => Problem::new(Code::StartTimeout).retry_after(Duration::from_secs(1)),
        Refusal::Starved(after) => Problem::new(Code::NoResources).retry_after(after),
        Refusal::ShuttingDown | Refusal::Gone => {
            Problem::new(Code::ShuttingDown).retry_after(Duration::from_secs(1))
        }
    };
    match failure {
        Some(failure) => {
            let problem = problem.detail(failure.summary.clone()).report(report(&failure));
            match &failure.suggestion {
                Some(suggestion) if matches!(why, Refusal::Starved(_)) => problem.hint(suggestion.clone()),
                _ => problem,
            }
        }
        None => problem,
    }
}

fn failed(app: &App, failure: Failure) -> Problem {
    match failure {
        Failure::Gone { .. } => {
            Problem::new(Code::WorkerDied).detail("The worker ended while it had this request.")
        }
        Failure::Timeout | Failure::StreamTimeout => Problem::new(Code::AppTimeout)
            .detail(format!("No answer within {:?}.", app.manifest.timeout))
            .hint("The manifest's timeout sets the limit."),
        Failure::App(error) => Problem::new(Code::AppError)
            .detail(format!("{}: {}", error.name, error.message))
            .report(Report { error: Some(*error), ..Report::default() }),
        Failure::BadResponse(what) => Problem::new(Code::WorkerProtocol)
            .detail(format!("The app's response has a {what} that HTTP does not allow.")),
        Failure::BodyFailed => Problem::new(Code::AppError).detail("The body of the app's response failed."),
        Failure::RequestBody(RequestBody::TooLarge) => too_large(app.manifest.max_body_size),
        Failure::RequestBody(RequestBody::TooSlow) => Problem::new(Code::RequestTimeout),
        Failure::RequestBody(RequestBody::Broken) => {
            Problem::new(Code::BadRequest).detail("The request's body is not well-formed or broke off.")
        }
    }
}

fn report(failure: &StartFailure) -> Report {
    let journey = &failure.journey;
    let step = |name: &'static str, took| Step { name: name.into(), took };
    Report {
        error: failure.error.clone(),
        steps: vec![
            step("spawn", journey.spawn),
            step("connect", journey.connect),
            step("load", journey.load),
        ],
        stderr: failure.stderr.clone(),
        ..Report::default()
    }
}

fn document(status: StatusCode, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
