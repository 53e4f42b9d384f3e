//! The stores: one suite that both pass, and what only one of them has.

mod folder;
mod killed;
mod odd;
mod s3;
mod suite;
mod tls;

/// Each function of the suite as a test of each store, and all of them in a row.
macro_rules! conformance {
    (objects: $($object:ident),*; uploads: $($upload:ident),* $(,)?) => {
        conformance!($($object,)* $($upload,)*);

        /// What holds for objects alone, on one store.
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

        /// Which functions of the suite hold on the S3 server: for servers that are not as they should be.
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

        /// The whole suite on one store.
        async fn whole_suite(store: &dyn telelake::store::Store) {
            $(suite::$name(store).await;)*
        }
    };
}

conformance!(
    objects: preflight_leaves_nothing_visible,
    conditional_writes_are_honoured_and_the_probe_is_removed,
    an_object_reads_back_as_it_was_written,
    pieces_of_an_object_make_the_whole,
    what_is_not_there_is_said_so,
    an_object_larger_than_it_may_be_is_not_read,
    a_write_replaces_the_whole,
    readers_see_the_old_or_the_new_one,
    a_condition_that_does_not_hold_changes_nothing,
    of_racing_writers_one_wins,
    a_listing_is_whole_and_in_order;
    uploads: uploads_of_every_size_arrive_whole,
    an_upload_shows_nothing_before_it_is_complete,
    an_aborted_upload_leaves_nothing,
    a_dropped_upload_shows_nothing_and_can_be_gone_on_with,
    an_upload_that_was_let_go_of_goes_on_where_it_stood,
    an_upload_that_is_driven_is_left_alone,
    of_several_uploads_left_the_furthest_goes_on_and_the_others_end,
    an_upload_that_was_left_can_be_found_and_aborted,
    a_receipt_tells_of_the_whole_until_it_is_deleted,
    a_damaged_checkpoint_costs_the_upload_and_nothing_else,
    many_uploads_at_once_all_end,
);

/// The store that histories in process stand on keeps what the others keep, but for uploads of dead processes.
#[tokio::test]
async fn in_memory() {
    suite_of_objects(&crate::support::memory::Memory::default()).await;
}
