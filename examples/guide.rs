//! The snippets of the guide, compiled and run as documentation tests: `cargo test -p perdura-examples --doc`.

macro_rules! pages {
    ($($name:ident: $file:literal),*) => {$(
        #[cfg(doctest)]
        #[doc = include_str!(concat!("../docs/guide/", $file))]
        mod $name {}
    )*};
}

pages!(
    concepts: "concepts.md",
    writing_orchestrations: "writing-orchestrations.md",
    entities: "entities.md",
    operating: "operating.md",
    guarantees: "guarantees.md",
    rewind: "rewind.md",
    testing: "testing.md"
);
