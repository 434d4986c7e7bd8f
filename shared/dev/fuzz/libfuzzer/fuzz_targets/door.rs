//! One of the targets of the crate `fuzz`, named in `FUZZ_TARGET`, before libFuzzer.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

fn chosen() -> &'static fuzz::Target {
    static TARGET: OnceLock<&fuzz::Target> = OnceLock::new();
    TARGET.get_or_init(|| {
        let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names the target");
        fuzz::target(&name).unwrap_or_else(|| panic!("no target {name}"))
    })
}

fuzz_target!(|bytes: &[u8]| (chosen().run)(bytes));
