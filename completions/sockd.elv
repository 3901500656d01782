
use builtin;
use str;

set edit:completion:arg-completer[sockd] = {|@words|
    fn spaces {|n|
        builtin:repeat $n ' ' | str:join ''
    }
    fn cand {|text desc|
        edit:complex-candidate $text &display=$text' '(spaces (- 14 (wcswidth $text)))$desc
    }
    var command = 'sockd'
    for word $words[1..-1] {
        if (str:has-prefix $word '-') {
            break
        }
        set command = $command';'$word
    }
    var completions = [
        &'sockd'= {
            cand --config 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]'
            cand -h 'Print help'
            cand --help 'Print help'
            cand -V 'Print version'
            cand --version 'Print version'
            cand serve 'Run the gateway'
            cand emit 'Push an event to a user, or a file of events'
            cand force-logout 'Make one session a user''s only one, and close the sockets of all others'
            cand token 'Make and judge tokens'
            cand sessions 'Look at the active sessions'
            cand doctor 'Check all that a server stands on, and say what to do'
            cand config 'Look at the configuration'
            cand completions 'Print the completions for a shell'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'sockd;serve'= {
            cand --host 'The address to listen on; :: is all of IPv4 and IPv6'
            cand --port 'The port to listen on; 0 lets the system choose'
            cand --redis-url 'Where sessions are kept and other nodes are met; a password belongs into REDIS_PASS or redis.password_file, since ps shows flags'
            cand --log-level 'What is logged, such as info or info,sockd=debug'
            cand --log-format 'How it is logged'
            cand --config 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]'
            cand --dev 'Try it out: no configuration is read, secrets are made for this run, sessions stay in memory, and the terminal shows what to paste next'
            cand -h 'Print help'
            cand --help 'Print help'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'sockd;emit'= {
            cand --batch 'Send one event per line of this file, - for stdin'
            cand --concurrency 'How many lines of a batch are under way at once; lines of one user stay in order'
            cand --failed 'Where the lines of a batch that failed are kept [default: FILE.failed.ndjson]'
            cand --url 'The node''s address, such as http://127.0.0.1:3000 [default: SOCKD_URL, else the configured host and port]'
            cand --secret-file 'A file that holds the secret for the internal API, - for stdin [default: the configured secret]'
            cand --config 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]'
            cand --require-online 'Fail with exit code 5 if the user has no socket'
            cand --json 'Print the result as JSON'
            cand --proxy 'Call the node through the proxy that http_proxy, https_proxy, all_proxy and no_proxy name; without this it is called directly'
            cand -h 'Print help'
            cand --help 'Print help'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'sockd;force-logout'= {
            cand --url 'The node''s address, such as http://127.0.0.1:3000 [default: SOCKD_URL, else the configured host and port]'
            cand --secret-file 'A file that holds the secret for the internal API, - for stdin [default: the configured secret]'
            cand --config 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]'
            cand --json 'Print the result as JSON'
            cand --proxy 'Call the node through the proxy that http_proxy, https_proxy, all_proxy and no_proxy name; without this it is called directly'
            cand -h 'Print help'
            cand --help 'Print help'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'sockd;token'= {
            cand --config 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]'
            cand -h 'Print help'
            cand --help 'Print help'
            cand -V 'Print version'
            cand --version 'Print version'
            cand mint 'Make a token, or many for a load test'
            cand check 'Say whether the server would admit a token, or exactly why not'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'sockd;token;mint'= {
            cand --user 'The token''s user [default: one made up, told on stderr]'
            cand --session 'The token''s session [default: one made up, told on stderr]'
            cand --ttl 'How long the token is good, such as 30s, 1h or 7d; none for ever'
            cand --claim 'A further claim, which wins over all others; VALUE is JSON, or else a string'
            cand --alg 'The algorithm [default: the first configured one that fits the key]'
            cand --key 'A file with the secret or the private key, as @FILE; - for stdin [default: the configured secret]'
            cand --count 'Make so many, each of another user and session unless given, as one JSON object a line'
            cand --config 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]'
            cand --json 'Print the token as JSON with its user and session'
            cand -h 'Print help'
            cand --help 'Print help'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'sockd;token;check'= {
            cand --config 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]'
            cand --json 'Print the result as JSON'
            cand -h 'Print help'
            cand --help 'Print help'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'sockd;token;help'= {
            cand mint 'Make a token, or many for a load test'
            cand check 'Say whether the server would admit a token, or exactly why not'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'sockd;token;help;mint'= {
        }
        &'sockd;token;help;check'= {
        }
        &'sockd;token;help;help'= {
        }
        &'sockd;sessions'= {
            cand --config 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]'
            cand -h 'Print help'
            cand --help 'Print help'
            cand -V 'Print version'
            cand --version 'Print version'
            cand ls 'List the active sessions, from Redis or from a node that keeps them in memory'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'sockd;sessions;ls'= {
            cand --user 'Only this user''s session'
            cand --limit 'List at most so many'
            cand --url 'Ask this node, which keeps its sessions in memory, instead of the configured Redis; without a Redis it is asked anyhow [default then: SOCKD_URL, else the configured host and port]'
            cand --secret-file 'A file that holds the secret for a node''s internal API, - for stdin; Redis does not need it [default: the configured secret]'
            cand --config 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]'
            cand --json 'Print one JSON object a line'
            cand --proxy 'Call the node through the proxy that http_proxy, https_proxy, all_proxy and no_proxy name; without this it is called directly'
            cand -h 'Print help'
            cand --help 'Print help'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'sockd;sessions;help'= {
            cand ls 'List the active sessions, from Redis or from a node that keeps them in memory'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'sockd;sessions;help;ls'= {
        }
        &'sockd;sessions;help;help'= {
        }
        &'sockd;doctor'= {
            cand --config 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]'
            cand --json 'Print the result as JSON'
            cand -h 'Print help'
            cand --help 'Print help'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'sockd;config'= {
            cand --config 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]'
            cand -h 'Print help'
            cand --help 'Print help'
            cand -V 'Print version'
            cand --version 'Print version'
            cand check 'Say whether the configuration can be served, or all that is wrong with it'
            cand show 'Print every setting with its value and where it came from; secrets are redacted'
            cand example 'Print a configuration file with every setting, its default and what it is for'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'sockd;config;check'= {
            cand --config 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]'
            cand --json 'Print the result as JSON'
            cand -h 'Print help'
            cand --help 'Print help'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'sockd;config;show'= {
            cand --config 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]'
            cand --json 'Print one JSON object a line'
            cand -h 'Print help'
            cand --help 'Print help'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'sockd;config;example'= {
            cand --config 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]'
            cand -h 'Print help'
            cand --help 'Print help'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'sockd;config;help'= {
            cand check 'Say whether the configuration can be served, or all that is wrong with it'
            cand show 'Print every setting with its value and where it came from; secrets are redacted'
            cand example 'Print a configuration file with every setting, its default and what it is for'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'sockd;config;help;check'= {
        }
        &'sockd;config;help;show'= {
        }
        &'sockd;config;help;example'= {
        }
        &'sockd;config;help;help'= {
        }
        &'sockd;completions'= {
            cand --config 'The configuration file [default: SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml]'
            cand -h 'Print help'
            cand --help 'Print help'
            cand -V 'Print version'
            cand --version 'Print version'
        }
        &'sockd;help'= {
            cand serve 'Run the gateway'
            cand emit 'Push an event to a user, or a file of events'
            cand force-logout 'Make one session a user''s only one, and close the sockets of all others'
            cand token 'Make and judge tokens'
            cand sessions 'Look at the active sessions'
            cand doctor 'Check all that a server stands on, and say what to do'
            cand config 'Look at the configuration'
            cand completions 'Print the completions for a shell'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'sockd;help;serve'= {
        }
        &'sockd;help;emit'= {
        }
        &'sockd;help;force-logout'= {
        }
        &'sockd;help;token'= {
            cand mint 'Make a token, or many for a load test'
            cand check 'Say whether the server would admit a token, or exactly why not'
        }
        &'sockd;help;token;mint'= {
        }
        &'sockd;help;token;check'= {
        }
        &'sockd;help;sessions'= {
            cand ls 'List the active sessions, from Redis or from a node that keeps them in memory'
        }
        &'sockd;help;sessions;ls'= {
        }
        &'sockd;help;doctor'= {
        }
        &'sockd;help;config'= {
            cand check 'Say whether the configuration can be served, or all that is wrong with it'
            cand show 'Print every setting with its value and where it came from; secrets are redacted'
            cand example 'Print a configuration file with every setting, its default and what it is for'
        }
        &'sockd;help;config;check'= {
        }
        &'sockd;help;config;show'= {
        }
        &'sockd;help;config;example'= {
        }
        &'sockd;help;completions'= {
        }
        &'sockd;help;help'= {
        }
    ]
    $completions[$command]
}
