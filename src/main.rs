use std::process::ExitCode;

fn main() -> ExitCode {
    rnnx::cli::main()
}
