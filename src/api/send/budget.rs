//! A limit on the number of requests that the caller counts.

use std::fmt::Debug;

use futures_util::future::BoxFuture;

use crate::Result;

/// Counts requests. It is asked before each attempt, retries included; downloads do not count.
pub trait RequestBudget: Debug + Send + Sync {
    /// Takes a request.
    ///
    /// # Errors
    /// The budget is spent, or cannot be counted: the request is not sent.
    fn take(&self) -> BoxFuture<'_, Result<()>>;
}
