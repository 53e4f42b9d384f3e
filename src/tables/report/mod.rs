//! A JSON report: it is parsed once, judged, and turned into rows and people. Pure.

pub(crate) mod inspect;
pub(crate) mod layout;
pub(crate) mod lookup;
mod misfit;
pub(crate) mod node;
pub(crate) mod outside;
pub(crate) mod path;
pub(crate) mod people;
pub(crate) mod rows;
pub(crate) mod sessions;
pub(crate) mod stay;
pub(crate) mod turnout;
