//! Tallies as flat JSON fields with a prefix: `reports_done`, `records_lost`. For `#[serde(flatten, with = "…")]`. Pure.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::tally::Tally;

/// Declares a module that reads and writes a tally as flat fields.
macro_rules! flat_tally {
    ($(#[$about:meta])* $module:ident { $(#[$serde:meta] $field:ident,)* }) => {
        $(#[$about])*
        pub mod $module {
            use super::*;

            #[derive(Default, Serialize, Deserialize)]
            #[serde(default)]
            struct Fields {
                $(#[$serde] $field: u64,)*
            }

            /// Writes the fields.
            ///
            /// # Errors
            /// Any error of the serializer.
            pub fn serialize<S: Serializer>(tally: &Tally, serializer: S) -> Result<S::Ok, S::Error> {
                Fields { $($field: tally.$field,)* }.serialize(serializer)
            }

            /// Reads the fields; an absent one is 0.
            ///
            /// # Errors
            /// Any error of the deserializer.
            pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Tally, D::Error> {
                let fields = Fields::deserialize(deserializer)?;
                Ok(Tally { $($field: fields.$field,)* })
            }
        }
    };
}

flat_tally! {
    /// `reports_…`. The platform gives up recordings alone, so that there is no `reports_unavailable`.
    reports {
        #[serde(rename = "reports_done")] done,
        #[serde(rename = "reports_pending")] pending,
        #[serde(rename = "reports_failed")] failed,
        #[serde(rename = "reports_denied")] denied,
        #[serde(skip)] unavailable,
        #[serde(rename = "reports_lost")] lost,
    }
}

flat_tally! {
    /// `records_…`.
    records {
        #[serde(rename = "records_done")] done,
        #[serde(rename = "records_pending")] pending,
        #[serde(rename = "records_failed")] failed,
        #[serde(rename = "records_denied")] denied,
        #[serde(rename = "records_unavailable")] unavailable,
        #[serde(rename = "records_lost")] lost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default)]
    struct Both {
        #[serde(flatten, with = "reports")]
        reports: Tally,
        #[serde(flatten, with = "records")]
        records: Tally,
    }

    #[test]
    fn tallies_are_flat_fields_and_an_absent_field_is_zero() {
        let json = serde_json::json!({
            "reports_done": 1, "reports_pending": 2, "reports_failed": 3, "reports_denied": 4, "reports_lost": 5,
            "records_done": 6, "records_pending": 7, "records_failed": 8, "records_denied": 9,
            "records_unavailable": 10, "records_lost": 11,
        });
        let both: Both = serde_json::from_value(json.clone()).expect("tallies");
        assert_eq!((both.reports.lost, both.records.unavailable), (5, 10));
        assert_eq!(serde_json::to_value(&both).expect("JSON"), json);
        let none: Both = serde_json::from_str("{}").expect("tallies");
        assert_eq!(none, Both::default());
    }
}
