//! The bounds of everything that can grow, with their units. Where a number comes from the contract, its section is named.

/// Largest accepted request body, in bytes.
pub const BODY_BYTES: usize = 1024 * 1024;
/// Longest event name, in bytes (contract 4.1).
pub const EVENT_NAME_BYTES: usize = 64;
/// Largest event data, in bytes of UTF-8 (contract 4.1).
pub const EVENT_DATA_BYTES: usize = 16_384;
/// Most events in one batch (contract 4.1).
pub const BATCH_EVENTS: usize = 1_000;
/// Largest rendered request body, url or header, in bytes.
pub const RENDERED_BYTES: usize = 1024 * 1024;
/// The most work of all templates of one delivery together, in steps of the template engine.
pub const RENDER_STEPS: usize = 500_000;
/// How much of a destination's reply is read, in bytes (contract 4.3).
pub const REPLY_BYTES: usize = 102_400;
/// How much of a reply is read where a `responseTemplate` picks something out of it, in bytes (contract 4.3).
pub const TEMPLATE_REPLY_BYTES: usize = 1024 * 1024;
/// Size of one chunk of a response event, in bytes (contract 4.3).
pub const RESPONSE_CHUNK_BYTES: usize = 512;
/// Log rows kept for each integration and product: successes (contract 4.3).
pub const LOG_SUCCESSES: usize = 10;
/// Log rows kept for each integration and product: errors and skipped ones (contract 4.3).
pub const LOG_ERRORS: usize = 10;
/// Days of history and log that are kept (contract 4.3).
pub const HISTORY_DAYS: i64 = 30;
/// Most products of one integration.
pub const MEMBERS: usize = 1_000;
/// Most integrations of one owner.
pub const INTEGRATIONS_PER_OWNER: usize = 10_000;
/// Largest stored configuration of one integration, in bytes of JSON.
pub const CONFIG_BYTES: usize = 256 * 1024;
/// Longest name of a person, organization, product, device or integration, in characters.
pub const NAME_CHARS: usize = 200;
/// Largest page of a list, in rows.
pub const PAGE_ROWS: usize = 100;
/// Deliveries that run at once to one destination.
pub const LANE_CONCURRENCY: usize = 64;
/// Deliveries of a lane under way at once where several go in one request.
pub const LANE_TOGETHER: usize = 2_048;
/// Deliveries that run at once in all.
pub const TOTAL_CONCURRENCY: usize = 1_024;
/// Deliveries that one lane holds in memory; more wait in the pending table.
pub const LANE_QUEUE: usize = 4_096;
/// Most parameters that one integration declares.
pub const PARAMETERS: usize = 50;
/// Longest value of a parameter, in bytes of UTF-8.
pub const PARAMETER_BYTES: usize = 8 * 1024;
