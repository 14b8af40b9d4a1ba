//! The official SDKs against the real server process. Ignored unless asked for: `scripts/{python,javascript,java,go}-sdk`
//! install what they need, and a machine that lacks it shall not call them passed.
#![expect(clippy::unwrap_used, reason = "a test that meets an error shall stop")]

mod crashes;
mod once;
mod polyglot;
mod process;

use process::{Program, Server};

/// A program that checks itself against a server of its own.
fn passes(program: Program) {
    let server = Server::new();
    program.arg(server.address()).run();
}

macro_rules! python_programs {
    ($($name:ident),*) => {
        mod python {
            $(
                #[test]
                #[ignore = "needs the Python SDK: scripts/python-sdk, then --ignored"]
                fn $name() {
                    super::passes(super::Program::python(concat!("examples/python/", stringify!($name), ".py")));
                }
            )*
        }
    };
}

python_programs!(
    chaining, waiting, children, retries, eternal, control, entities, many, versions, rewind, scheduler
);

#[test]
#[ignore = "needs the Python SDK: scripts/python-sdk, then --ignored"]
fn the_package_for_azure_brings_the_token_of_its_credential() {
    const TOKEN: &str = "a-token-for-the-tests";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), TOKEN).unwrap();
    let server = Server::with(&["--token-file", file.path().to_str().unwrap()]);
    Program::python("examples/python/scheduler.py").arg(server.address()).arg(TOKEN).run();
}

macro_rules! javascript_programs {
    ($($name:ident),*) => {
        mod javascript {
            $(
                #[test]
                #[ignore = "needs the JavaScript SDK: scripts/javascript-sdk, then --ignored"]
                fn $name() {
                    let path = concat!("examples/javascript/", stringify!($name), ".cjs");
                    super::passes(super::Program::javascript(path));
                }
            )*
        }
    };
}

javascript_programs!(patterns, control, rewind);

macro_rules! java_programs {
    ($($name:ident: $class:literal),*) => {
        mod java {
            $(
                #[test]
                #[ignore = "needs the Java SDK: scripts/java-sdk, then --ignored"]
                fn $name() {
                    super::passes(super::Program::java($class));
                }
            )*
        }
    };
}

java_programs!(patterns: "Patterns", control: "Control");

macro_rules! go_programs {
    ($($name:ident),*) => {
        mod go {
            $(
                #[test]
                #[ignore = "needs the Go SDK: scripts/go-sdk, then --ignored"]
                fn $name() {
                    super::passes(super::Program::go(stringify!($name)));
                }
            )*
        }
    };
}

go_programs!(patterns, control);
