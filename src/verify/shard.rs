//! The dates that a shard verifies. The dates of the lake are divided by the number of their days, so that each day is verified
//! by one shard. The shard of the first date also checks what belongs to no date.

use chrono::NaiveDate;

use super::VerifyOptions;
use crate::Result;
use crate::ids::{DayId, SpaceId};
use crate::lake::key;
use crate::pipeline::RecordedBytes;
use crate::pipeline::assignment::Assignment;
use crate::store::Store;

/// Limits a verification to the dates of its shard. `None` if the shard has no date.
///
/// # Errors
/// Any error of the store.
pub(super) async fn limit(store: &dyn Store, options: VerifyOptions) -> Result<Option<VerifyOptions>> {
    let Some(shard) = options.shard else {
        return Ok(Some(options));
    };
    let dates = super::Dates {
        from: options.from,
        to: options.to,
    };
    let manifests = store.list(key::DAYS).await?;
    let found = manifests.iter().filter_map(|object| key::date_in(&object.key));
    // All dates are those of one space here, and a date weighs as much as it has days.
    let lake = SpaceId::default();
    let mut days = RecordedBytes::new();
    for date in found.filter(|date| dates.contain(*date)) {
        *days.entry(DayId::new(date, lake.clone())).or_default() += 1;
    }
    let dates = days.keys().next().zip(days.keys().next_back());
    let Some(span) = dates.map(|(first, last)| (first.date, last.date)) else {
        return Ok(shard.is_first().then_some(options));
    };
    let assignment = Assignment::new(shard.count, [lake.clone()], span, &days);
    let own = assignment.dates_of(shard, &lake);
    Ok(own.map(|own| bounds(options, span, own)))
}

/// The options of a shard with the dates `own`. The ends of all dates stay open if they were.
fn bounds(
    options: VerifyOptions,
    span: (NaiveDate, NaiveDate),
    own: (NaiveDate, NaiveDate),
) -> VerifyOptions {
    VerifyOptions {
        from: if own.0 == span.0 {
            options.from
        } else {
            Some(own.0)
        },
        to: if own.1 == span.1 { options.to } else { Some(own.1) },
        only_dates: own.0 != span.0,
        ..options
    }
}
