//! The server.
#![allow(dead_code)]

mod work_items;
