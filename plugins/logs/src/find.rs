//! A page of entries, the newest first.

use crate::query::{PAGE, Query, Scope};
use crate::store::Store;

/// Entries that are looked at in one go. Between two of them other tasks run.
const CHUNK: usize = 256;
/// Bytes of a page, after which it ends although there is more: entries may be long.
const PAGE_BYTES: usize = 4 << 20;

/// `{run, entries, next}`; `next` is the `before` of the next page.
pub async fn page(store: &Store, query: &Query, scope: &Scope) -> String {
    let limit = query.limit.unwrap_or(PAGE);
    let mut json = format!(r#"{{"run":"{}","entries":["#, store.run());
    let (mut found, mut last) = (0, 0);
    let mut before = query.before.unwrap_or(u64::MAX);
    let mut more = false;
    'ring: loop {
        let chunk = store.before(before, CHUNK);
        let Some((oldest, _)) = chunk.last() else { break };
        before = *oldest;
        for (number, entry) in &chunk {
            if query.after.is_some_and(|after| *number <= after) {
                break 'ring;
            }
            if !scope.sees(entry.app.as_deref()) || !query.takes(*number, entry) {
                continue;
            }
            if found == limit || json.len() > PAGE_BYTES {
                more = true;
                break 'ring;
            }
            if found > 0 {
                json.push(',');
            }
            entry.write_json(*number, &mut json);
            (found, last) = (found + 1, *number);
        }
        tokio::task::yield_now().await;
    }
    let next = if more { last.to_string() } else { "null".to_owned() };
    json + &format!(r#"],"next":{next}}}"#)
}
