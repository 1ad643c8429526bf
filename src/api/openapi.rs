//! The OpenAPI document, made from the handlers, and the router that belongs to it.

use super::{
    Api, aliases, apps, audit, deploy, events, keys, no_such_method, no_such_route, patterns, plugins,
    runtime, types, versions, workers,
};
use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header;
use std::sync::Arc;
use utoipa::OpenApi;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{PathItem, Ref, RefOr, SecurityRequirement, Server};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

const PROBLEM: &str = "application/problem+json";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Buntime",
        description = "The management API: apps and their versions, aliases, workers, keys, plugins, the audit log and events.\n\n\
                       Every operation needs a key with the permission that its `x-permission` names. Without any key \
                       in the runtime it is closed; the admin socket needs none.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    components(schemas(types::ProblemDocument))
)]
struct Document;

/// The router and the document as JSON.
pub fn routes(base: &str) -> (Router<Arc<Api>>, Bytes) {
    let (router, document) = build(base);
    let json = document.to_pretty_json().unwrap_or_default(); // it is made of texts and maps
    (router, Bytes::from(json + "\n"))
}

fn build(base: &str) -> (Router<Arc<Api>>, utoipa::openapi::OpenApi) {
    let (router, mut document) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(runtime::me))
        .routes(routes!(runtime::runtime))
        .routes(routes!(apps::list, deploy::deploy))
        .routes(routes!(apps::one, apps::delete))
        .routes(routes!(apps::restart))
        .routes(routes!(aliases::rollback))
        .routes(routes!(versions::list, deploy::deploy_version))
        .routes(routes!(versions::one, versions::delete))
        .routes(routes!(versions::package))
        .routes(routes!(versions::enable))
        .routes(routes!(versions::disable))
        .routes(routes!(versions::restart))
        .routes(routes!(aliases::list))
        .routes(routes!(aliases::put, aliases::delete))
        .routes(routes!(workers::list))
        .routes(routes!(workers::one, workers::terminate))
        .routes(routes!(workers::restart))
        .routes(routes!(events::stream))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::one, keys::revoke))
        .routes(routes!(audit::list))
        .routes(routes!(plugins::list, plugins::install))
        .routes(routes!(plugins::reload))
        .routes(routes!(plugins::one, plugins::remove))
        .routes(routes!(plugins::enable))
        .routes(routes!(plugins::disable))
        .routes(routes!(plugins::config, plugins::configure))
        .split_for_parts();
    document.servers = Some(vec![Server::new(base)]);
    let components = document.components.get_or_insert_default();
    let in_header = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-API-Key")));
    components.add_security_scheme("key", in_header);
    components.add_security_scheme("bearer", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    let requirement = |name: &str| SecurityRequirement::new(name, [] as [&str; 0]);
    document.security = Some(vec![requirement("key"), requirement("bearer")]);
    for (path, item) in &mut document.paths.paths {
        for operation in operations(item) {
            add_problem(operation);
            without_event_schema(operation);
            for parameter in operation.parameters.iter_mut().flatten() {
                if let RefOr::T(parameter) = parameter {
                    patterns::state(path, parameter);
                }
            }
        }
    }
    let router = router.fallback(no_such_route).method_not_allowed_fallback(|| async { no_such_method() });
    (router, document)
}

/// Every operation can fail, in the one shape.
fn add_problem(operation: &mut Operation) {
    let schema = Ref::from_schema_name("ProblemDocument");
    let response = ResponseBuilder::new()
        .description("It was not done; the code says why.")
        .content(PROBLEM, ContentBuilder::new().schema(Some(schema)).build())
        .build();
    operation.responses.responses.insert("default".into(), response.into());
}

/// OpenAPI 3.1 cannot say what a stream of events is made of: a schema would be that of the whole text to some, and of each
/// event to others.
fn without_event_schema(operation: &mut Operation) {
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response
            && let Some(RefOr::T(content)) = response.content.get_mut("text/event-stream")
        {
            content.schema = None;
        }
    }
}

fn operations(path: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let methods = [&mut path.get, &mut path.put, &mut path.post, &mut path.patch, &mut path.delete];
    methods.into_iter().filter_map(Option::as_mut)
}

pub fn respond(document: &Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], Body::from(document.clone())).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Permission;

    #[test]
    fn the_document_is_the_one_that_was_agreed_on() {
        let (_, json) = routes("/api");
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
        if std::env::var_os("UPDATE_OPENAPI").is_some() {
            std::fs::write(golden, &json).unwrap();
        }
        let agreed = std::fs::read_to_string(golden).unwrap();
        assert!(
            agreed.as_bytes() == json,
            "docs/openapi.json differs; see it with UPDATE_OPENAPI=1 and git diff"
        );
    }

    #[test]
    fn every_operation_names_its_permission_and_has_words() {
        let (_, mut document) = build("/api");
        let mut count = 0;
        for (path, item) in &mut document.paths.paths {
            for operation in operations(item) {
                count += 1;
                let extensions = operation.extensions.as_ref().unwrap_or_else(|| panic!("{path}"));
                let permission = extensions["x-permission"].as_str().unwrap();
                assert!(
                    permission == "none" || Permission::parse(permission).is_ok(),
                    "{path}: {permission}"
                );
                assert!(operation.summary.is_some() && operation.operation_id.is_some(), "{path}");
            }
        }
        assert!(count > 5);
    }
}
