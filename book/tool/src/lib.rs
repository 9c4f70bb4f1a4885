//! The book's tool: everything in the book that could go stale is made from the crates
//! and from captured runs when the book is built, and whatever is missing or stale
//! fails the build.
//!
//! mdBook does the rest: it is driven as a library ([`mod@book`], [`serve`]), and the
//! tool works as an ordinary preprocessor of it too. A page is expanded by [`page`]:
//! differences between chapters ([`diff`], [`house`]), listings by name ([`source`],
//! [`listing`]), captured runs ([`runs`]), figures ([`figures`]), formulas ([`math`]),
//! exercises ([`exercises`]), tables ([`tables`], [`guards`]). Links are checked by
//! [`links`], and all that is wrong is told at once ([`problem`]).
pub mod book;
pub mod diff;
pub mod exercises;
pub mod figures;
pub mod guards;
pub mod highlight;
pub mod house;
pub mod html;
pub mod links;
pub mod listing;
pub mod math;
pub mod page;
// As told in ch07_pipeline_parallel, whose figures are its own schedules.
#[path = "../../../chapters/ch07_pipeline_parallel/src/plan.rs"]
pub mod plan;
pub mod problem;
pub mod runs;
#[path = "../../../chapters/ch07_pipeline_parallel/src/schedule.rs"]
pub mod schedule;
pub mod serve;
pub mod source;
pub mod tables;
pub mod warnings;
pub mod words;
