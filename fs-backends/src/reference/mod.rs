//! File systems over crates that others wrote.
//!
//! The names and types of those crates stay in this folder.
