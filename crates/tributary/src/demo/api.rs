//! The API as a client sees it.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;

use crate::Result;

/// A client of the demo's server.
pub(crate) struct Api {
    base: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Api {
    /// A client of the server at `address`.
    pub(crate) fn new(address: SocketAddr) -> Api {
        Api { base: format!("http://{address}"), client: Client::builder(TokioExecutor::new()).build_http() }
    }

    /// Asks for `path`.
    pub(crate) async fn get(&self, token: &str, path: &str) -> Result<Value> {
        self.call("GET", token, path, "application/json", String::new()).await
    }

    /// Sends a JSON body.
    pub(crate) async fn post(&self, token: &str, path: &str, body: &Value) -> Result<Value> {
        self.call("POST", token, path, "application/json", body.to_string()).await
    }

    /// Deletes what is at `path`.
    pub(crate) async fn delete(&self, token: &str, path: &str) -> Result<Value> {
        self.call("DELETE", token, path, "application/json", String::new()).await
    }

    /// Sends a form; the only call that needs no token.
    pub(crate) async fn sign_in(&self, form: String) -> Result<Value> {
        self.call("POST", "", "/oauth/token", "application/x-www-form-urlencoded", form).await
    }

    async fn call(&self, method: &str, token: &str, path: &str, kind: &str, body: String) -> Result<Value> {
        let mut request = hyper::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("content-type", kind);
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let answer = self.client.request(request.body(Full::from(body))?).await?;
        let status = answer.status();
        let bytes = answer.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            return Err(
                format!("{method} {path} answered {status}: {}", String::from_utf8_lossy(&bytes)).into()
            );
        }
        Ok(serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }
}
