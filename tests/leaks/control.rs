//! The positive control: a process that holds canaries in every form, and everything that it leaves behind.

use std::{fs, io::Write as _, time::Duration};

use tests::{
    programs::Place,
    scan::{Found, Needle, Scanner},
    wire::Tap,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    process::Command,
};

use crate::cores;

#[tokio::test(flavor = "multi_thread")]
async fn every_form_is_found_where_it_is() {
    let place = Place::new("control");
    let (there, never) = (Needle::random("there"), Needle::random("never"));
    let scanner = Scanner::new(&[there.clone(), never.clone()]);
    let forms: Vec<u8> =
        there.forms().into_iter().flat_map(|(_, form)| [form, vec![b'\n']].concat()).collect();

    // The control holds what it reads; masked, so that no file of ours has it.
    place.write("masked", forms.iter().map(|octet| octet ^ MASK).collect::<Vec<_>>());
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -c unlimited && exec \"$0\" \"$@\""]);
    command.arg(std::env::current_exe().unwrap());
    command.args([
        "--exact",
        "control::a_process_that_keeps_no_secret",
        "--ignored",
        "--nocapture",
    ]);
    place.confine(&mut command);
    let mut control = place.spawn("control", command);
    while control.line().await != "ready" {}

    assert_all(&there, &never, &scanner.memory(control.id()).found, "memory");
    assert_all(
        &there,
        &never,
        &scanner.open_files(control.id()),
        "a file that is open and deleted",
    );
    control.signal("ABRT").await;
    control.wait().await;
    for file in ["control.out", "control.log", "left.behind"] {
        assert_all(&there, &never, &scanner.file(&place.folder().join(file)).unwrap(), file);
    }
    let in_folder = scanner.folder(place.folder(), &|_| false);
    assert!(in_folder.iter().any(|(path, _)| path.ends_with("left.behind")), "{in_folder:?}");
    if cores::are_written() {
        let cores = cores::written(&place);
        assert_eq!(cores.len(), 1, "{cores:?}");
        assert_all(&there, &never, &scanner.file(&cores[0]).unwrap(), "a core");
    }
    assert_all(&there, &never, &recorded(&scanner, &forms).await, "what a tap recorded");
}

/// What a tap recorded of octets that passed it.
async fn recorded(scanner: &Scanner, octets: &[u8]) -> Found {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tap = Tap::start(listener.local_addr().unwrap()).await;
    let mut sender = TcpStream::connect(tap.address()).await.unwrap();
    let (mut receiver, _) = listener.accept().await.unwrap();
    sender.write_all(octets).await.unwrap();
    let mut through = vec![0; octets.len()];
    receiver.read_exact(&mut through).await.unwrap();
    scanner.recordings(&tap.streams())
}

fn assert_all(there: &Needle, never: &Needle, found: &Found, place: &str) {
    for (form, _) in there.forms() {
        assert!(found.has(there, form), "{form} is in {place}, and was not found: {found:?}");
        assert!(!found.has(never, form), "{form} is not in {place}, and was found");
    }
}

/// Run by the test above, in a process of its own; alone it does nothing.
#[test]
#[ignore = "a part of another test"]
fn a_process_that_keeps_no_secret() {
    let Ok(masked) = fs::read("masked") else { return };
    let forms: Vec<u8> = masked.iter().map(|octet| octet ^ MASK).collect();
    fs::write("left.behind", &forms).unwrap();
    fs::write("deleted", &forms).unwrap();
    let deleted = fs::File::open("deleted").unwrap();
    fs::remove_file("deleted").unwrap();
    std::io::stderr().write_all(&forms).unwrap();
    let mut out = std::io::stdout();
    out.write_all(&forms).unwrap();
    out.write_all(b"\nready\n").unwrap();
    out.flush().unwrap();
    std::thread::sleep(Duration::from_mins(1));
    drop((deleted, forms));
}

const MASK: u8 = 0x5a;
