//! The kinds of problem: each a stable code, a status, and words that may be shown to anybody.

use http::StatusCode;

/// What went wrong. The names that [`Code::as_str`] gives are part of the interface: programs compare them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    BadRequest,
    /// A path that cannot name a file or an app.
    InvalidPath,
    /// What stands behind the `@` is no version, range or tag.
    InvalidVersion,
    Unauthorized,
    Forbidden,
    /// An unsafe method from another site.
    CrossSite,
    NotFound,
    UnknownApp,
    UnknownVersion,
    MethodNotAllowed,
    /// The request did not arrive in time.
    RequestTimeout,
    PreconditionFailed,
    BodyTooLarge,
    UriTooLong,
    RangeNotSatisfiable,
    TooManyRequests,
    HeadersTooLarge,
    /// The app threw.
    AppError,
    /// A fault of the supervisor.
    Internal,
    /// A method or a transfer coding that is not known here.
    NotImplemented,
    /// The worker ended before it answered.
    WorkerDied,
    /// The worker spoke nonsense.
    WorkerProtocol,
    /// A version whose manifest or entrypoint is wrong.
    AppUnavailable,
    StartFailed,
    StartTimeout,
    QueueFull,
    QueueTimeout,
    /// Crashed too often; waits before the next start.
    BackOff,
    /// The machine has nothing left to start a worker or to open a file with.
    NoResources,
    ShuttingDown,
    /// The app got the request and did not answer in time.
    AppTimeout,
    /// A plugin has sent the request to an app that is not there.
    UnknownTarget,
    /// A plugin that had to let the request pass failed.
    PluginFailed,
}

impl Code {
    pub fn as_str(self) -> &'static str {
        self.words().1
    }

    pub fn status(self) -> StatusCode {
        self.words().0
    }

    /// The same for each problem of this kind.
    pub fn title(self) -> &'static str {
        self.words().2
    }

    /// A sentence for where a detail is missing or must not be shown.
    pub fn summary(self) -> &'static str {
        self.words().3
    }

    #[rustfmt::skip]
    fn words(self) -> (StatusCode, &'static str, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Code::BadRequest => (S::BAD_REQUEST, "bad_request", "Bad request", "The request is not valid."),
            Code::InvalidPath => (S::BAD_REQUEST, "invalid_path", "Invalid path", "The path of the request is not valid."),
            Code::InvalidVersion => (S::BAD_REQUEST, "invalid_version", "Invalid version", "What follows the @ is not a version, a range or a tag."),
            Code::Unauthorized => (S::UNAUTHORIZED, "unauthorized", "Authentication required", "This needs authentication."),
            Code::Forbidden => (S::FORBIDDEN, "forbidden", "Forbidden", "This is not allowed."),
            Code::CrossSite => (S::FORBIDDEN, "cross_site", "Request from another site", "Requests from other sites may not change anything here."),
            Code::NotFound => (S::NOT_FOUND, "not_found", "Not found", "There is nothing at this address."),
            Code::UnknownApp => (S::NOT_FOUND, "unknown_app", "No such app", "There is no app of this name."),
            Code::UnknownVersion => (S::NOT_FOUND, "unknown_version", "No such version", "The app has no version that fits."),
            Code::MethodNotAllowed => (S::METHOD_NOT_ALLOWED, "method_not_allowed", "Method not allowed", "This address does not take this method."),
            Code::RequestTimeout => (S::REQUEST_TIMEOUT, "request_timeout", "Request timeout", "The request did not arrive in time."),
            Code::PreconditionFailed => (S::PRECONDITION_FAILED, "precondition_failed", "Precondition failed", "What the request asked to be unchanged has changed."),
            Code::BodyTooLarge => (S::PAYLOAD_TOO_LARGE, "body_too_large", "Body too large", "The body of the request is larger than this app takes."),
            Code::UriTooLong => (S::URI_TOO_LONG, "uri_too_long", "Address too long", "The address of the request is too long."),
            Code::RangeNotSatisfiable => (S::RANGE_NOT_SATISFIABLE, "range_not_satisfiable", "Range not satisfiable", "The requested range lies outside of the file."),
            Code::TooManyRequests => (S::TOO_MANY_REQUESTS, "too_many_requests", "Too many requests", "There were too many requests."),
            Code::HeadersTooLarge => (S::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large", "Headers too large", "The headers of the request are too large."),
            Code::AppError => (S::INTERNAL_SERVER_ERROR, "app_error", "The app failed", "The app failed to answer this request."),
            Code::Internal => (S::INTERNAL_SERVER_ERROR, "internal", "Internal error", "The server failed to answer this request."),
            Code::NotImplemented => (S::NOT_IMPLEMENTED, "not_implemented", "Not implemented", "The request asks for something that this server does not know."),
            Code::WorkerDied => (S::BAD_GATEWAY, "worker_died", "The app ended", "The app ended before it answered."),
            Code::WorkerProtocol => (S::BAD_GATEWAY, "worker_protocol", "The app gave no valid answer", "The app did not give a valid answer."),
            Code::AppUnavailable => (S::SERVICE_UNAVAILABLE, "app_unavailable", "The app is not available", "The app cannot be served as it is."),
            Code::StartFailed => (S::SERVICE_UNAVAILABLE, "start_failed", "The app did not start", "The app could not be started."),
            Code::StartTimeout => (S::SERVICE_UNAVAILABLE, "start_timeout", "The app did not start in time", "The app took too long to start."),
            Code::QueueFull => (S::SERVICE_UNAVAILABLE, "queue_full", "The app is busy", "Too many requests are waiting for this app."),
            Code::QueueTimeout => (S::SERVICE_UNAVAILABLE, "queue_timeout", "The app is busy", "The app had no room for this request in time."),
            Code::BackOff => (S::SERVICE_UNAVAILABLE, "back_off", "The app keeps failing", "The app failed several times; it is started again after a pause."),
            Code::NoResources => (S::SERVICE_UNAVAILABLE, "no_resources", "The server is short of resources", "The server has nothing left to answer this with at the moment."),
            Code::ShuttingDown => (S::SERVICE_UNAVAILABLE, "shutting_down", "Shutting down", "The server is shutting down."),
            Code::UnknownTarget => (S::BAD_GATEWAY, "unknown_target", "No such app", "This address leads to an app that is not there."),
            Code::PluginFailed => (S::SERVICE_UNAVAILABLE, "plugin_failed", "A plugin failed", "A plugin that this request has to pass failed."),
            Code::AppTimeout => (S::GATEWAY_TIMEOUT, "app_timeout", "The app did not answer in time", "The app did not answer in time."),
        }
    }
}
