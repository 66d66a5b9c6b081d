//! Integrations in all three places: the list, one of them, creating, editing, separating, deleting.

mod list;
mod logs;
mod shown;
mod view;

use axum::{
    Router,
    routing::{get, post},
};

use crate::{Console, here::PLACES};

pub(crate) fn routes() -> Router<Console> {
    let mut router = Router::new();
    for place in PLACES {
        router = router
            .route(&format!("{place}/integrations"), get(list::show))
            .route(&format!("{place}/integrations/{{id}}"), get(view::show))
            .route(&format!("{place}/integrations/{{id}}/days"), get(list::days))
            .route(&format!("{place}/integrations/{{id}}/test"), post(view::test))
            .route(&format!("{place}/integrations/{{id}}/state"), post(view::set_state))
            .route(&format!("{place}/integrations/{{id}}/delete"), get(view::confirm).post(view::delete));
    }
    router
}
