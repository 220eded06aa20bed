//! What `ferry chaos --help` says.

use std::process::Command;

#[test]
fn the_help_of_chaos() -> anyhow::Result<()> {
    let output = Command::new(env!("CARGO_BIN_EXE_ferry")).args(["chaos", "--help"]).output()?;
    assert!(output.status.success());
    insta::assert_snapshot!(String::from_utf8(output.stdout)?, @"");
    Ok(())
}
