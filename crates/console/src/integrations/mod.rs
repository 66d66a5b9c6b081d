//! Integrations in all three places: the list, one of them, creating, editing, separating, deleting.

mod check;
mod draft;
mod edit;
mod list;
mod logs;
mod meanwhile;
mod merge;
mod new;
mod redelivery;
mod shown;
mod versions;
mod view;

use axum::{
    Router,
    routing::{get, post},
};

pub(crate) use shown::id as shown_id;

use crate::{
    Console,
    here::{ORG, PLACES, PRODUCT},
};

pub(crate) fn routes() -> Router<Console> {
    let mut router = Router::new();
    for place in PLACES {
        router = router
            .route(&format!("{place}/integrations"), get(list::show).post(edit::create))
            .route(&format!("{place}/integrations/new"), get(new::gallery))
            .route(&format!("{place}/integrations/new/{{card}}"), get(new::card).post(new::fill))
            .route(&format!("{place}/integrations/check"), post(check::check))
            .route(&format!("{place}/integrations/{{id}}"), get(view::show))
            .route(&format!("{place}/integrations/{{id}}/edit"), get(edit::edit).post(edit::save))
            .route(&format!("{place}/integrations/{{id}}/days"), get(list::days))
            .route(&format!("{place}/integrations/{{id}}/test"), post(view::test))
            .route(&format!("{place}/integrations/{{id}}/state"), post(view::set_state))
            .route(
                &format!("{place}/integrations/{{id}}/redelivery"),
                get(redelivery::show).post(redelivery::act),
            )
            .route(&format!("{place}/integrations/{{id}}/restore"), get(versions::confirm))
            .route(
                &format!("{place}/integrations/{{id}}/versions"),
                get(versions::show).post(versions::restore),
            )
            .route(&format!("{place}/integrations/{{id}}/delete"), get(view::confirm).post(view::delete));
    }
    let separate = get(edit::separate).post(edit::save_separate);
    let merge = get(merge::show).post(merge::merge);
    router
        .route(&format!("{PRODUCT}/integrations/{{id}}/separate"), separate)
        .route(&format!("{ORG}/integrations/{{id}}/overrides"), post(view::set_overrides))
        .route(&format!("{ORG}/integrations/duplicates"), get(list::duplicates))
        .route(&format!("{ORG}/integrations/{{id}}/merge"), merge)
}
