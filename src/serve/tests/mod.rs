//! Tests of the whole daemon in memory.

mod idle;
