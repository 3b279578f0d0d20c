//! A Python with PyTorch: a virtual environment of our own, filled from PyPI when it is first asked for.

use crate::checkpoint::write_atomically;
use anyhow::{Context, Result, bail, ensure};
use std::env;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Names another folder for the environment.
const VARIABLE: &str = "THUMBFORMER_TORCH_VENV";
const REQUIREMENTS: &str = include_str!("../../torch/requirements.txt");
/// In the environment: what was installed, once it was.
const INSTALLED: &str = "thumbformer-requirements.txt";

/// The twin.
const PROGRAM: [(&str, &str); 5] = [
    ("checkpoint.py", include_str!("../../torch/checkpoint.py")),
    ("data.py", include_str!("../../torch/data.py")),
    ("launch.py", include_str!("../../torch/launch.py")),
    ("model.py", include_str!("../../torch/model.py")),
    ("train.py", include_str!("../../torch/train.py")),
];

/// A virtual environment that is ready.
#[derive(Debug)]
pub struct Environment {
    folder: PathBuf,
    program: PathBuf,
}

impl Environment {
    /// Sets the environment up where that was not done, and says so.
    pub fn set_up() -> Result<Self> {
        let folder = folder()?;
        let installed = folder.join(INSTALLED);
        let lock = lock(&folder)?;
        if fs::read_to_string(&installed).is_ok_and(|text| text == REQUIREMENTS) {
            eprintln!("torch     {}", folder.display());
        } else {
            eprintln!(
                "torch     setting up {} (5 GB from PyPI; {VARIABLE} names another place)",
                folder.display()
            );
            install(&folder)?;
            write_atomically(&installed, &[REQUIREMENTS.as_bytes()])?;
        }
        drop(lock);
        let program = write_program(&folder)?;
        Ok(Self { folder, program })
    }

    /// The interpreter.
    pub fn python(&self) -> PathBuf {
        python(&self.folder)
    }

    /// The folder of the twin's sources.
    pub fn program(&self) -> &Path {
        &self.program
    }
}

/// Where the environment lies.
fn folder() -> Result<PathBuf> {
    if let Some(folder) = env::var_os(VARIABLE).filter(|folder| !folder.is_empty()) {
        return Ok(std::path::absolute(PathBuf::from(folder))?);
    }
    let cache = ["XDG_CACHE_HOME", "LOCALAPPDATA"].into_iter().find_map(env::var_os).map(PathBuf::from);
    let cache = cache.or_else(|| Some(env::home_dir()?.join(".cache")));
    Ok(cache
        .with_context(|| format!("found no home folder, wanted {VARIABLE} to name a place"))?
        .join("thumbformer/torch"))
}

/// Keeps others from setting up the same environment at the same time.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.with_added_extension("lock");
    let open = || {
        fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        let file = File::create(&path)?;
        file.lock()?;
        Ok::<_, io::Error>(file)
    };
    open().with_context(|| format!("{}: cannot be written", path.display()))
}

fn python(folder: &Path) -> PathBuf {
    folder.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" })
}

fn install(folder: &Path) -> Result<()> {
    if !folder.join("pyvenv.cfg").exists() {
        let empty = fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none());
        ensure!(
            empty,
            "{}: found other files, wanted a virtual environment or an empty folder",
            folder.display()
        );
        create(folder)?;
    }
    let requirements = folder.join("thumbformer-wanted.txt");
    write_atomically(&requirements, &[REQUIREMENTS.as_bytes()])?;
    let mut pip = Command::new(python(folder));
    pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--requirement"]).arg(&requirements);
    let wanted = REQUIREMENTS.lines().collect::<Vec<_>>().join(", ");
    call(&mut pip).with_context(|| {
        format!(
            "{}: cannot install {wanted}; is there a way to pypi.org? pip says more above",
            folder.display()
        )
    })
}

/// Makes an empty environment.
fn create(folder: &Path) -> Result<()> {
    let name = if cfg!(windows) { "python" } else { "python3" };
    let version = Command::new(name)
        .args(["-c", "import sys; print('%d.%d' % sys.version_info[:2], sys.version_info >= (3, 11))"])
        .stderr(Stdio::null())
        .output();
    let Ok(version) = version else {
        bail!("{name}: found none on the PATH, wanted Python 3.11 or newer for the torch engine");
    };
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let (found, new_enough) = version.trim().split_once(' ').unwrap_or(("one that does not run", ""));
    ensure!(new_enough == "True", "{name}: found {found}, wanted Python 3.11 or newer for the torch engine");
    call(Command::new(name).args(["-m", "venv"]).arg(folder)).with_context(|| {
        let hint = "Debian and Ubuntu have venv in the package python3-venv";
        format!("{}: cannot make a virtual environment; {hint}", folder.display())
    })
}

/// Calls a program that must succeed. Standard output is for results: what the program says goes to standard error.
fn call(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.stdout(io::stderr()).status().with_context(|| format!("cannot start {name}"))?;
    ensure!(status.success(), "{name} failed ({status})");
    Ok(())
}

/// Writes the twin's sources; those of another version have another folder.
fn write_program(folder: &Path) -> Result<PathBuf> {
    let all: String = PROGRAM.iter().map(|(_, text)| *text).collect();
    let program = folder.join(format!("thumbformer-{:08x}", thumbformer::format::crc32(all.as_bytes())));
    fs::create_dir_all(&program).with_context(|| format!("{}", program.display()))?;
    for (name, text) in PROGRAM {
        let path = program.join(name);
        if fs::read_to_string(&path).ok().as_deref() != Some(text) {
            write_atomically(&path, &[text.as_bytes()])?;
        }
    }
    Ok(program)
}
