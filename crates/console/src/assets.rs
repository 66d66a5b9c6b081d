//! Style, scripts and icons, built into the binary. Their addresses carry the version, so browsers may keep them.

use axum::{
    Router,
    http::{HeaderName, header},
    routing::get,
};

use crate::Console;

const KEEP: (HeaderName, &str) = (header::CACHE_CONTROL, "public, max-age=31536000, immutable");

pub(crate) fn routes() -> Router<Console> {
    let mut router = Router::new();
    for (path, kind, content) in [
        ("/static/app.css", "text/css; charset=utf-8", include_str!("../static/app.css")),
        ("/static/app.js", "text/javascript; charset=utf-8", include_str!("../static/app.js")),
        ("/static/events.js", "text/javascript; charset=utf-8", include_str!("../static/events.js")),
        ("/static/htmx.min.js", "text/javascript; charset=utf-8", include_str!("../static/htmx.min.js")),
        ("/static/icon.svg", "image/svg+xml", include_str!("../static/icon.svg")),
    ] {
        router =
            router.route(path, get(move || async move { ([(header::CONTENT_TYPE, kind), KEEP], content) }));
    }
    router
}

/// What follows the address of an asset: it changes with every build that changes one.
pub(crate) const VERSION: u32 = fingerprint(&[
    include_bytes!("../static/app.css"),
    include_bytes!("../static/app.js"),
    include_bytes!("../static/events.js"),
    include_bytes!("../static/htmx.min.js"),
    include_bytes!("../static/icon.svg"),
]);

/// FNV-1a over all bytes. It tells versions apart, nothing more.
const fn fingerprint(files: &[&[u8]]) -> u32 {
    let mut hash: u32 = 0x811c_9dc5;
    let mut file = 0;
    while file < files.len() {
        let mut at = 0;
        while at < files[file].len() {
            hash = (hash ^ files[file][at] as u32).wrapping_mul(0x0100_0193);
            at += 1;
        }
        file += 1;
    }
    hash
}
