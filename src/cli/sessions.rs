//! `sockd sessions`: the active sessions, and on how many nodes their users are online.

mod show;

use clap::{Args, Subcommand};

use super::{
    Context,
    failure::Failure,
    output::{self, Results},
    target::Target,
};
use crate::{client::Client, id::UserId, session::list::SessionList, wire::SessionRow};

/// Sessions per request to a node.
const PAGE: usize = 500;

#[derive(Debug, Subcommand)]
pub(super) enum SessionsCommand {
    /// List the active sessions, from Redis or from a node that keeps them in memory
    Ls(LsArgs),
    /// Show a user's session and sockets, on all nodes
    Show(show::ShowArgs),
    /// Remove a user's stored session, so that the next session that comes is adopted
    Rm(RmArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
The user's sockets stay until another session is adopted. To close them, use `sockd kick`.

Exit codes:
  0  ok: there is no stored session any more
  1  failed: the node refused
  2  usage or configuration
  3  unreachable
  4  unauthorised")]
pub(super) struct RmArgs {
    /// The user whose session to remove
    user: String,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
#[command(
    mut_arg("url", |url| url.help(
        "Ask this node, which keeps its sessions in memory, instead of the configured Redis; \
         without a Redis, a node is always asked [default: SOCKD_URL, else the configured host and \
         port]"
    )),
    mut_arg("secret_file", |file| file.help(
        "A file with the secret for a node's internal API, - for stdin; not needed for Redis \
         [default: the configured secret]"
    ))
)]
#[command(after_help = "\
Columns:
  ONLINE is the number of nodes where the user has sockets

Exit codes:
  0  ok
  1  failed
  2  usage or configuration
  3  Redis or the node is unreachable
  4  Redis refuses the password, or the node refuses the secret")]
pub(super) struct LsArgs {
    /// List only this user's session
    #[arg(long)]
    user: Option<String>,

    /// List at most N sessions
    #[arg(long, value_name = "N")]
    limit: Option<u64>,

    /// Print one JSON object per line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    target: Target,
}

pub(super) async fn run(command: SessionsCommand, context: &Context) -> Result<(), Failure> {
    match command {
        SessionsCommand::Ls(args) => ls(args, context).await,
        SessionsCommand::Show(args) => show::run(args, context).await,
        SessionsCommand::Rm(args) => rm(args, context).await,
    }
}

async fn rm(args: RmArgs, context: &Context) -> Result<(), Failure> {
    let user = UserId::try_from(args.user.as_str()).map_err(Failure::usage)?;
    let client = args.target.client(context)?;
    let answer = client.remove_session(&user).await?;
    let text = if answer.removed {
        "removed the session"
    } else {
        "there was no session"
    };
    output::result(args.json, &answer, text)?;
    Ok(())
}

async fn ls(args: LsArgs, context: &Context) -> Result<(), Failure> {
    let user = args.user.as_deref().map(UserId::try_from).transpose();
    let user = user.map_err(Failure::usage)?;
    let mut listing = Listing {
        table: (!args.json).then(Table::default),
        results: Results::default(),
        left: args.limit.unwrap_or(u64::MAX),
    };
    if args.target.url.is_some() {
        let client = args.target.client(context)?;
        return from_node(&client, user.as_ref(), listing).await;
    }
    let stored = context.settings(Vec::new())?.sessions()?;
    let Some(redis) = &stored.redis else {
        let client = args.target.client(context)?;
        output::note(format_args!(
            "sessions are in memory; asking {}",
            client.url()
        ));
        return from_node(&client, user.as_ref(), listing).await;
    };
    let mut sessions = SessionList::open(redis, &stored.sessions, &stored.room_prefix).await?;
    if let Some(user) = user {
        if let Some(row) = sessions.of(&user).await? {
            listing.page([row])?;
        }
        return listing.finish();
    }
    walk(&mut sessions, listing).await
}

/// The user's active session, from Redis or from a node that keeps it in memory.
///
/// # Errors
/// Redis or the node does not say.
pub(super) async fn active(
    user: &UserId,
    target: &Target,
    context: &Context,
) -> Result<Option<String>, Failure> {
    let stored = context.settings(Vec::new())?.sessions()?;
    let row = match &stored.redis {
        Some(redis) => {
            let list = SessionList::open(redis, &stored.sessions, &stored.room_prefix);
            list.await?.of(user).await?
        }
        None => {
            let client = target.client(context)?;
            let answer = client.sessions(None, 1, Some(user)).await?;
            answer.sessions.into_iter().next()
        }
    };
    Ok(row.and_then(|row| row.session_id))
}

async fn walk(sessions: &mut SessionList, mut listing: Listing) -> Result<(), Failure> {
    let keys = sessions.estimate().await?;
    let progress = output::bar(keys, "[{bar:32}] {pos}/{len} keys {msg} {elapsed}");
    listing.results = Results::beside(&progress);
    let mut found = 0_usize;
    while let Some(page) = sessions.next_page().await? {
        found += page.rows.len();
        progress.set_position((progress.position() + page.scanned).min(keys));
        progress.set_message(format!("{found} sessions"));
        listing.page(page.rows)?;
        if listing.left == 0 {
            break;
        }
    }
    progress.finish_and_clear();
    listing.finish()
}

async fn from_node(
    client: &Client,
    user: Option<&UserId>,
    mut listing: Listing,
) -> Result<(), Failure> {
    let mut after: Option<String> = None;
    loop {
        let wanted = usize::try_from(listing.left).map_or(PAGE, |left| left.min(PAGE));
        if wanted == 0 {
            break;
        }
        let answer = client.sessions(after.as_deref(), wanted, user).await?;
        let last = answer.sessions.last().map(|row| row.user_id.clone());
        // A page that ends with the same user again would make this loop forever.
        let has_moved = last.is_some() && last != after;
        after = last;
        listing.page(answer.sessions)?;
        if !has_moved || user.is_some() {
            break;
        }
    }
    listing.finish()
}

/// Prints rows as a table or as JSON.
struct Listing {
    table: Option<Table>,
    results: Results,
    left: u64,
}

impl Listing {
    /// Prints rows until the limit is reached.
    fn page(&mut self, rows: impl IntoIterator<Item = SessionRow>) -> Result<(), Failure> {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let rows: Vec<_> = rows.into_iter().take(left).collect();
        self.left -= rows.len() as u64;
        match &mut self.table {
            Some(table) => {
                let rows: Vec<_> = rows.iter().map(Row::new).collect();
                table.print(&rows, &mut self.results)?;
            }
            None => {
                for row in &rows {
                    self.results.json(row)?;
                }
            }
        }
        // Rows are shown as soon as they are found.
        self.results.flush()?;
        Ok(())
    }

    fn finish(mut self) -> Result<(), Failure> {
        if let Some(table) = &mut self.table {
            table.print_header(&mut self.results)?;
        }
        self.results.finish()?;
        Ok(())
    }
}

/// A table that is printed page by page; the first page decides the column widths.
#[derive(Default)]
struct Table {
    widths: Option<(usize, usize)>,
}

/// A row of a table. Redis may hold anything, including control sequences for the terminal.
struct Row {
    user: String,
    session: String,
    expiry: String,
    online: usize,
}

impl Row {
    fn new(row: &SessionRow) -> Self {
        let session = row.session_id.as_deref();
        let expiry = row.expires_in_seconds;
        Self {
            user: output::visible(&row.user_id),
            session: session.map_or_else(|| "?".to_owned(), output::visible),
            expiry: expiry.map_or_else(|| "never".to_owned(), output::span),
            online: row.online,
        }
    }
}

impl Table {
    const EXPIRY_WIDTH: usize = 10;

    fn print(&mut self, rows: &[Row], results: &mut Results) -> Result<(), Failure> {
        if rows.is_empty() {
            return Ok(());
        }
        let widest = |of: fn(&Row) -> &str| {
            let lengths = rows.iter().map(|row| of(row).chars().count());
            lengths.max().unwrap_or_default()
        };
        let widths = (
            widest(|row| &row.user).max(4),
            widest(|row| &row.session).max(7),
        );
        let (user, session_width) = match self.widths {
            Some(widths) => widths,
            None => {
                self.widths = Some(widths);
                self.header(results, widths)?;
                widths
            }
        };
        for row in rows {
            results.line(format_args!(
                "{:user$}  {:session_width$}  {:width$}  {}",
                row.user,
                row.session,
                row.expiry,
                row.online,
                width = Self::EXPIRY_WIDTH,
            ))?;
        }
        Ok(())
    }

    /// Prints the header of a table without rows.
    fn print_header(&mut self, results: &mut Results) -> Result<(), Failure> {
        if self.widths.is_none() {
            self.header(results, (4, 7))?;
        }
        Ok(())
    }

    fn header(
        &self,
        results: &mut Results,
        (user, session): (usize, usize),
    ) -> Result<(), Failure> {
        results.line(format_args!(
            "{:user$}  {:session$}  {:width$}  ONLINE",
            "USER",
            "SESSION",
            "EXPIRES IN",
            width = Self::EXPIRY_WIDTH
        ))?;
        Ok(())
    }
}
