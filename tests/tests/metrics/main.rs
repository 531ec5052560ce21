//! What is counted and measured, read off a real exporter. The recorder is the process's, so this is
//! a program of its own, whose tests take turns.

#![allow(clippy::unwrap_used)]
// what is counted, and what a clock shows that is turned by hand, is exact
#![allow(clippy::float_cmp)]

mod counts;
mod deployment;
mod documents;
mod everything;
mod hostile;
mod issuers;
mod late;
mod logs;
mod names;
mod recorder;
mod scrape;
