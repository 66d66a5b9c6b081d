//! The description of the endpoints that stand in several places, one line for each.

use serde_json::Value;
use utoipa::{
    PartialSchema,
    openapi::{
        Content, Object, OpenApi, RefOr, Response, Schema,
        path::{HttpMethod, Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn},
        request_body::RequestBodyBuilder,
        schema::Type,
    },
};

use crate::{
    at::{ORG, PRODUCT, SANDBOX},
    configurations,
};

/// Every place.
const ALL: &[&str] = &[SANDBOX, PRODUCT, ORG];

/// One endpoint: where, method, path behind the place, tag, parameters of the query, statuses of success and refusal,
/// and what it does.
struct Endpoint(
    &'static [&'static str],
    HttpMethod,
    &'static str,
    &'static str,
    &'static [&'static str],
    u16,
    &'static [u16],
    &'static str,
);

use HttpMethod::{Delete, Get, Post, Put};

const INTEGRATIONS: &str = "integrations";
const SECRETS: &str = "secrets";

#[rustfmt::skip]
fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint(ALL, Get, "/integrations", INTEGRATIONS, &[], 200, &[], "The integrations of the place with today's traffic."),
        Endpoint(ALL, Post, "/integrations", INTEGRATIONS, &[], 201, &[400, 403], "Create an integration. In an organization the body has `product_ids`."),
        Endpoint(ALL, Get, "/integrations/{id}", INTEGRATIONS, &[], 200, &[404], "An integration with its log."),
        Endpoint(ALL, Put, "/integrations/{id}", INTEGRATIONS, &[], 200, &[400, 403, 404, 409, 412], "Replace the configuration of an integration. With `version` in the body, or in `If-Match`, only while that is the present version: else 409, or 412."),
        Endpoint(ALL, Post, "/integrations/{id}/redeliver", INTEGRATIONS, &[], 200, &[400, 403, 404, 409], "Deliver again what failed or was skipped, or count it with `dry_run`."),
        Endpoint(ALL, Post, "/integrations/{id}/logs/{log}/redeliver", INTEGRATIONS, &[], 200, &[403, 404, 409], "Deliver one row of the log again."),
        Endpoint(ALL, Get, "/integrations/{id}/redeliveries", INTEGRATIONS, &[], 200, &[404], "The newest redeliveries of an integration."),
        Endpoint(ALL, Get, "/integrations/{id}/redeliveries/{redelivery}", INTEGRATIONS, &[], 200, &[404], "How far a redelivery is."),
        Endpoint(ALL, Delete, "/integrations/{id}/redeliveries/{redelivery}", INTEGRATIONS, &[], 200, &[403, 404, 409], "Cancel a redelivery."),
        Endpoint(ALL, Delete, "/integrations/{id}", INTEGRATIONS, &[], 204, &[403, 404], "Delete an integration: in an organization for all its products, in a product for this one."),
        Endpoint(ALL, Get, "/integrations/{id}/history", INTEGRATIONS, &["days"], 200, &[400, 404], "What an integration counted by day, in all and by product."),
        Endpoint(ALL, Post, "/integrations/preview", INTEGRATIONS, &[], 200, &[400, 403, 404], "What `integration` would send for `events`, or for the `last` ones, and how that differs from what `id` sends now. Nothing is sent."),
        Endpoint(&[PRODUCT], Post, "/integrations/{id}/separate", INTEGRATIONS, &[], 201, &[400, 404, 409], "Give the product its own copy of a shared integration."),
        Endpoint(&[PRODUCT], Get, "/metrics/integration", INTEGRATIONS, &["start_date", "end_date", "bucket_size"], 200, &[400], "What all integrations of a product counted, in buckets of time."),
        Endpoint(&[ORG], Put, "/integrations/{id}/products/{product}", INTEGRATIONS, &[], 200, &[400, 403, 404, 409], "Let an integration execute on one more product. `parameters` in the body are what that product overrides of the declared ones."),
        Endpoint(&[ORG], Delete, "/integrations/{id}/products/{product}", INTEGRATIONS, &[], 204, &[403, 404], "Take a product out of an integration."),
        Endpoint(&[ORG], Get, "/integrations/duplicates", INTEGRATIONS, &[], 200, &[], "Integrations that differ in their name at most."),
        Endpoint(&[ORG], Post, "/integrations/{id}/merge", INTEGRATIONS, &[], 200, &[400, 403, 404, 409], "Merge the integrations under `from` into this one."),
        Endpoint(ALL, Get, "/integrations/{id}/versions", INTEGRATIONS, &["before", "limit"], 200, &[400, 404], "The versions of an integration, newest first: who changed which fields, and when."),
        Endpoint(ALL, Get, "/integrations/{id}/versions/{version}", INTEGRATIONS, &[], 200, &[404], "A version of an integration with its configuration."),
        Endpoint(ALL, Post, "/integrations/{id}/versions/{version}/restore", INTEGRATIONS, &[], 200, &[400, 403, 404, 409], "Give an integration the configuration of this version back."),
        Endpoint(&[SANDBOX, ORG], Get, "/audit", "audit", &["before", "limit"], 200, &[400, 403], "Who changed what, newest first. In an organization for Administrators."),
        Endpoint(&[SANDBOX, PRODUCT], Get, "/webhooks", "webhooks", &[], 200, &[], "The integrations of the type Webhook."),
        Endpoint(&[SANDBOX, PRODUCT], Post, "/webhooks", "webhooks", &[], 201, &[400], "Create a webhook."),
        Endpoint(&[SANDBOX, PRODUCT], Get, "/webhooks/{id}", "webhooks", &[], 200, &[404], "A webhook with its log."),
        Endpoint(&[SANDBOX, PRODUCT], Delete, "/webhooks/{id}", "webhooks", &[], 204, &[404], "Delete a webhook."),
        Endpoint(&[SANDBOX, ORG], Get, "/secrets", SECRETS, &[], 200, &[], "The names and uses of secrets."),
        Endpoint(&[SANDBOX, ORG], Post, "/secrets", SECRETS, &[], 201, &[400], "Create a secret."),
        Endpoint(&[SANDBOX, ORG], Get, "/secrets/{name}", SECRETS, &[], 200, &[404], "The uses of a secret."),
        Endpoint(&[SANDBOX, ORG], Put, "/secrets/{name}", SECRETS, &[], 200, &[400], "Create a secret or give it another value."),
        Endpoint(&[SANDBOX, ORG], Delete, "/secrets/{name}", SECRETS, &[], 204, &[404, 409], "Delete a secret that nothing uses."),
    ]
}

/// Adds these endpoints to a description.
pub(crate) fn describe(api: &mut OpenApi) {
    configurations::describe(api);
    for Endpoint(places, method, path, tag, query, success, refusals, summary) in endpoints() {
        for place in places {
            let path = format!("{place}{path}");
            let body = matches!(method, Post | Put) && !path.ends_with("/restore");
            let body = body.then(|| body_of(&path));
            let operation = operation(&path, tag, query, body, success, refusals, summary);
            api.paths.add_path_operation(&path, vec![method.clone()], operation);
        }
    }
}

/// The schema of a body: of some a configuration, of others any JSON.
fn body_of(path: &str) -> RefOr<Schema> {
    match ["/integrations", "/integrations/{id}", "/separate"].iter().any(|end| path.ends_with(end)) {
        true => configurations::any(),
        false => Value::schema(),
    }
}

fn operation(
    path: &str,
    tag: &str,
    query: &[&str],
    body: Option<RefOr<Schema>>,
    success: u16,
    refusals: &[u16],
    summary: &str,
) -> Operation {
    let json = || Content::new(Some(Value::schema()));
    let mut operation = OperationBuilder::new().tag(tag).summary(Some(summary));
    for part in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
        operation = operation.parameter(parameter(part, ParameterIn::Path));
    }
    for name in query {
        operation = operation.parameter(parameter(name, ParameterIn::Query));
    }
    if let Some(body) = body {
        let body = RequestBodyBuilder::new().content("application/json", Content::new(Some(body))).build();
        operation = operation.request_body(Some(body));
    }
    for status in [success].iter().chain(refusals) {
        let mut response = Response::new("");
        if *status != 204 {
            response.content.insert("application/json".to_owned(), json().into());
        }
        operation = operation.response(status.to_string(), response);
    }
    operation.build()
}

fn parameter(name: &str, place: ParameterIn) -> Parameter {
    let description = match name {
        "product" => "Product id or slug",
        "org" => "Organization id or slug",
        "id" => "Integration id; in a product the id of its copy",
        "redelivery" => "Id of the redelivery",
        "log" => "Id of a row of the log",
        "name" => "Name of the secret",
        "version" => "Number of the version",
        "before" => "What the page before named as `next`; the newest ones when absent",
        "limit" => "Most rows, 1 to 100; 50 when absent",
        "days" => "1 to 30; 30 when absent",
        "bucket_size" => "Length of a bucket, e.g. 1h or 1d; one day when absent",
        _ => "A date or time in ISO 8601",
    };
    let required = if place == ParameterIn::Path {
        utoipa::openapi::Required::True
    } else {
        utoipa::openapi::Required::False
    };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(required)
        .description(Some(description))
        .schema(Some(Object::with_type(Type::String)))
        .build()
}
