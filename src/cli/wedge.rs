//! `buntime wedge`, which no help lists: a runtime that was started with `BUNTIME_TEST_COMMANDS=1` is stuck from then on. For tests
//! of what watches over it.

use super::failure::Failure;
use super::session::Session;

pub async fn run(session: &Session) -> Result<(), Failure> {
    // No answer is ever made: this returns when the process has been ended.
    Ok(session.client.wedge().await?)
}
