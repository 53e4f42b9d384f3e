//! A missing object as `None`.

use crate::{Error, ErrorKind, Result};

/// Adds [`OptionalExt::optional`] to results of the store.
pub trait OptionalExt<T> {
    /// `None` if the store has no such object.
    ///
    /// # Errors
    /// Any error but `StoreNotFound`.
    fn optional(self) -> Result<Option<T>>;
}

impl<T> OptionalExt<T> for Result<T, Error> {
    fn optional(self) -> Result<Option<T>> {
        match self {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind() == ErrorKind::StoreNotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_missing_object_is_none() {
        let failed = |kind| Err::<u8, _>(Error::new(kind, "k", "as a test"));
        assert!(matches!(Ok(1_u8).optional(), Ok(Some(1))));
        assert!(matches!(failed(ErrorKind::StoreNotFound).optional(), Ok(None)));
        let error = failed(ErrorKind::Store).optional().expect_err("stays an error");
        assert_eq!(error.kind(), ErrorKind::Store);
    }
}
