//! The stores: the suite that all of them pass, and the promises that only one of them gives.

mod durable;
mod folder;
mod killed;
mod odd;
mod s3;
mod suite;
mod tls;

/// Makes each function of the suite a test of each store, and functions that run them all.
macro_rules! conformance {
    (objects: $($object:ident),*; uploads: $($upload:ident),* $(,)?) => {
        conformance!($($object,)* $($upload,)*);

        /// The part of the suite that is about objects alone, on a single store.
        async fn suite_of_objects(store: &dyn telelake::store::Store) {
            $(suite::$object(store).await;)*
        }
    };
    ($($name:ident),* $(,)?) => {
        mod in_a_folder {
            $(#[tokio::test]
            async fn $name() {
                let (_directory, store) = super::folder::new();
                super::suite::$name(&store).await;
            })*
        }

        mod in_s3 {
            $(#[tokio::test]
            async fn $name() {
                let (_bucket, store) = super::s3::new().await;
                super::suite::$name(&store).await;
            })*
        }

        /// The functions of the suite, and true for each that holds on the S3 server. For servers with faults.
        pub fn report() -> Vec<(&'static str, bool)> {
            let mut found = Vec::new();
            $(
                let held = std::thread::spawn(|| {
                    tokio::runtime::Runtime::new().unwrap().block_on(async {
                        let (_bucket, store) = s3::new().await;
                        telelake::store::Store::probe(&store).await.unwrap();
                        suite::$name(&store).await;
                    });
                });
                found.push((stringify!($name), held.join().is_ok()));
            )*
            found
        }

        /// The whole suite on a single store.
        async fn whole_suite(store: &dyn telelake::store::Store) {
            $(suite::$name(store).await;)*
        }
    };
}

conformance!(
    objects: preflight_leaves_nothing_visible,
    conditional_writes_are_honoured_and_probe_objects_are_removed,
    an_object_reads_back_as_it_was_written,
    pieces_of_an_object_make_the_whole,
    a_missing_object_has_an_error_kind_of_its_own,
    an_object_above_the_size_limit_is_not_read,
    a_write_replaces_the_whole,
    a_copy_keeps_its_bytes,
    readers_see_the_old_or_the_new_object,
    a_relaxed_write_is_seen_whole_and_at_once,
    a_write_whose_condition_does_not_hold_changes_nothing,
    one_of_racing_writers_wins,
    a_listing_is_whole_and_in_order;
    uploads: uploads_of_every_size_arrive_whole,
    an_upload_shows_nothing_before_it_is_complete,
    an_aborted_upload_leaves_nothing,
    a_dropped_upload_shows_nothing_and_can_be_resumed,
    a_released_upload_is_resumed_where_it_stopped,
    a_driven_upload_is_left_alone,
    the_furthest_of_several_left_uploads_is_resumed_and_the_others_are_aborted,
    a_left_upload_can_be_found_and_aborted,
    a_receipt_names_the_whole_object_until_it_is_deleted,
    a_damaged_checkpoint_costs_the_upload_and_nothing_else,
    many_concurrent_uploads_do_not_deadlock,
);

/// The store in memory gives the promises of the others, but for uploads of dead processes.
#[tokio::test]
async fn in_memory() {
    suite_of_objects(&crate::support::memory::Memory::default()).await;
}
