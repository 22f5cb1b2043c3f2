# Made from monitors/*.json by write_terraform.py: change those, and run it again.

terraform {
  required_providers {
    datadog = {
      source = "DataDog/datadog"
    }
  }
}

variable "notify" {
  description = "Handles that every monitor notifies, such as \"@slack-ops\""
  type        = string
  default     = ""
}

resource "datadog_monitor" "gunicorn_backlog_near_limit" {
  name  = "[gunicorn] Backlog is near its limit"
  type  = "query alert"
  query = "max(last_5m):max:gunicorn.backlog.max{*} by {env,service,app,host,listener} / min:gunicorn.backlog.limit{*} by {env,service,app,host,listener} * 100 > 50"
  tags  = ["integration:gunicorn", "managed_by:gunicorn_backlog", "gunicorn_backlog:backlog-near-limit"]

  message = <<-EOT
    {{#is_alert}}
    The accept queue of {{service.name}} ({{env.name}}, app {{app.name}}) at {{listener.name}} on {{host.name}} was {{value}} % full; critical is {{threshold}} %. At 100 % the kernel drops connections.
    {{/is_alert}}

    {{#is_warning}}
    The accept queue of {{service.name}} ({{env.name}}, app {{app.name}}) at {{listener.name}} on {{host.name}} was {{value}} % full; the warning comes at {{warn_threshold}} %.
    {{/is_warning}}

    {{#is_recovery}}
    The accept queue of {{service.name}} ({{env.name}}, app {{app.name}}) at {{listener.name}} on {{host.name}} is short again: {{value}} % of its limit at the most.
    {{/is_recovery}}

    {{#is_no_data}}
    No data on this for {{service.name}} ({{env.name}}); the monitor "gunicorn sends no metrics" tells why that may be.
    {{/is_no_data}}

    **Why it matters**

    A full queue drops connections: clients try again after a second or more, or give up. The app and its logs never see them.

    **What to look at**

    - `gunicorn.backlog.limit`: if it is less than gunicorn's `--backlog` (2048 by default), `net.core.somaxconn` clamps it.
    - `gunicorn.backlog.dropped`: whether connections are lost already.
    - `gunicorn.workers.utilization`: whether workers are busy, or do not accept at all.

    **What to change**

    - Raise `net.core.somaxconn` (in a container: in the pod's or container's own network namespace), and `--backlog` if that was lowered; restart gunicorn, a listening socket keeps its limit.
    - More replicas or `--workers`, if the queue also lasts.
    - With the asgi worker class the limit is 100, with aiohttp's worker classes 128, whatever `--backlog` says: use more replicas, or uvicorn's workers.

    ${var.notify}
  EOT

  on_missing_data     = "show_no_data"
  require_full_window = false
  renotify_interval   = 30
  include_tags        = true
  notify_audit        = false
  new_group_delay     = 60

  monitor_thresholds {
    critical = 50
    warning  = 25
  }
}

resource "datadog_monitor" "gunicorn_backlog_not_draining" {
  name  = "[gunicorn] Backlog does not drain"
  type  = "query alert"
  query = "min(last_5m):min:gunicorn.backlog.median{*} by {env,service,app,host,listener} > 0"
  tags  = ["integration:gunicorn", "managed_by:gunicorn_backlog", "gunicorn_backlog:backlog-not-draining"]

  message = <<-EOT
    {{#is_alert}}
    For five minutes connections have waited in the accept queue of {{service.name}} ({{env.name}}, app {{app.name}}) at {{listener.name}} on {{host.name}}: never fewer than {{value}} (median of ten seconds).
    {{/is_alert}}

    {{#is_recovery}}
    The accept queue of {{service.name}} ({{env.name}}, app {{app.name}}) at {{listener.name}} on {{host.name}} was empty again at times.
    {{/is_recovery}}

    {{#is_no_data}}
    No data for {{service.name}} ({{env.name}}). See the monitor "gunicorn sends no metrics".
    {{/is_no_data}}

    **Why it matters**

    More requests arrive than the server serves. The averages of the other monitors hide a single host. The wait grows as long as this lasts; clients and proxies reach their timeouts, and repeat their requests.

    **What to look at**

    - `gunicorn.workers.utilization` and `gunicorn.workers.saturated`: at 100 % there are too few workers; at less, workers do not accept.
    - `gunicorn.request.wait.95percentile`: the present wait.
    - Whether it is one host or all of them: one may hang, or get more than its share from the load balancer.
    - `gunicorn.backlog.limit`: how much more fits before connections are dropped.
    - Logs for `WORKER TIMEOUT`: workers that hang serve nobody.

    **What to change**

    - More replicas, or more `--workers`; `--threads` if requests mostly wait for something else.
    - A shorter `--timeout`, if hanging requests hold the workers.
    - Not `--backlog`: a longer queue only makes clients wait longer.

    ${var.notify}
  EOT

  on_missing_data     = "show_no_data"
  require_full_window = true
  renotify_interval   = 30
  include_tags        = true
  notify_audit        = false
  new_group_delay     = 60

  monitor_thresholds {
    critical = 0
  }
}

resource "datadog_monitor" "gunicorn_connections_dropped" {
  name  = "[gunicorn] Connections are dropped"
  type  = "query alert"
  query = "sum(last_5m):sum:gunicorn.backlog.dropped{*} by {env,service,app,listener}.as_count() > 0"
  tags  = ["integration:gunicorn", "managed_by:gunicorn_backlog", "gunicorn_backlog:connections-dropped"]

  message = <<-EOT
    {{#is_alert}}
    {{value}} connections to {{service.name}} ({{env.name}}, app {{app.name}}) at {{listener.name}} were dropped in the last five minutes.
    {{/is_alert}}

    {{#is_recovery}}
    No connection to {{service.name}} ({{env.name}}, app {{app.name}}) at {{listener.name}} was dropped in the last five minutes.
    {{/is_recovery}}

    {{#is_no_data}}
    No data for {{service.name}} ({{env.name}}). See the monitor "gunicorn sends no metrics".
    {{/is_no_data}}

    **Why it matters**

    Each of them is a client that waits a second or more for its next attempt, or gets an error. No log of gunicorn or the app has these connections.

    **What to look at**

    - `gunicorn.backlog.max` against `gunicorn.backlog.limit`: whether the queue is full for a moment or for long.
    - `gunicorn.workers` by `state`: workers that are `starting` or gone accept nothing.
    - `gunicorn.backlog.lost`: connections that were in a queue when its socket was closed.

    **What to change**

    - If the queue is full for moments only: raise `net.core.somaxconn` and `--backlog`, and restart gunicorn.
    - If it lasts: more replicas, `--workers` or `--threads`.
    - Where a client's retries make it worse: limit them in the proxy.

    ${var.notify}
  EOT

  on_missing_data     = "resolve"
  require_full_window = false
  renotify_interval   = 30
  include_tags        = true
  notify_audit        = false
  new_group_delay     = 60

  monitor_thresholds {
    critical = 0
  }
}

resource "datadog_monitor" "gunicorn_connections_lost" {
  name  = "[gunicorn] Connections are lost"
  type  = "query alert"
  query = "sum(last_5m):sum:gunicorn.backlog.lost{*} by {env,service,app,listener}.as_count() > 0"
  tags  = ["integration:gunicorn", "managed_by:gunicorn_backlog", "gunicorn_backlog:connections-lost"]

  message = <<-EOT
    {{#is_alert}}
    {{value}} connections to {{service.name}} ({{env.name}}, app {{app.name}}) at {{listener.name}} were reset in the last five minutes, because their listening socket was closed.
    {{/is_alert}}

    {{#is_recovery}}
    No connection to {{service.name}} ({{env.name}}, app {{app.name}}) at {{listener.name}} was lost in the last five minutes.
    {{/is_recovery}}

    {{#is_no_data}}
    No data for {{service.name}} ({{env.name}}). See the monitor "gunicorn sends no metrics".
    {{/is_no_data}}

    **Why it matters**

    Each of them is a client that gets "connection reset" for a request that no worker has read. No log of gunicorn or the app has this request.

    **What to look at**

    - `gunicorn.workers.exited` by `reason`: `recycled` (`--max-requests`) with `--reuse-port`, `asked` at shutdowns.
    - Deployments at that time: whether the load balancer still sent connections.
    - `gunicorn.backlog.max`: an empty queue loses nothing.

    **What to change**

    - With `--reuse-port`: no `--max-requests`, or no `--reuse-port`. Without it, workers share one queue, which stays open.
    - At shutdowns: remove the server from the load balancer first, then wait with `gunicorn-backlog drained`.
    - Let clients or the proxy repeat requests that were reset.

    ${var.notify}
  EOT

  on_missing_data     = "resolve"
  require_full_window = false
  renotify_interval   = 30
  include_tags        = true
  notify_audit        = false
  new_group_delay     = 60

  monitor_thresholds {
    critical = 0
  }
}

resource "datadog_monitor" "gunicorn_crash_loop" {
  name  = "[gunicorn] Workers crash in a loop"
  type  = "query alert"
  query = "avg(last_10m):default_zero(sum:gunicorn.workers.spawned{*} by {env,service,app,host,bind}.as_rate() / sum:gunicorn.workers{*} by {env,service,app,host,bind}) * 600 > 5"
  tags  = ["integration:gunicorn", "managed_by:gunicorn_backlog", "gunicorn_backlog:crash-loop"]

  message = <<-EOT
    {{#is_alert}}
    Workers of {{service.name}} ({{env.name}}, app {{app.name}}) at {{bind.name}} on {{host.name}} were replaced {{value}} times each in the last ten minutes; critical is {{threshold}} times.
    {{/is_alert}}

    {{#is_warning}}
    Workers of {{service.name}} ({{env.name}}, app {{app.name}}) at {{bind.name}} on {{host.name}} were replaced {{value}} times each in the last ten minutes; the warning comes at {{warn_threshold}} times.
    {{/is_warning}}

    {{#is_recovery}}
    Workers of {{service.name}} ({{env.name}}, app {{app.name}}) at {{bind.name}} on {{host.name}} stay again: replaced {{value}} times each in the last ten minutes.
    {{/is_recovery}}

    **Why it matters**

    Clients of a dying worker get no response, and a starting worker serves nobody. A check of the port still succeeds.

    **What to look at**

    - `gunicorn.workers.exited` by `reason`, and gunicorn's log: `WORKER TIMEOUT`, `Worker (pid:N) was sent SIGKILL! Perhaps out of memory?`, `Worker exiting`, and the app's traceback before it.
    - `gunicorn.workers` by `state`: many in the state `starting`.
    - Memory of the container against its limit, and the kernel's log for killed processes.
    - `--max-requests`: a low one replaces workers often, on purpose.

    **What to change**

    - Roll back the latest deployment, if the crashes began with it.
    - More memory, or fewer `--workers`, if the kernel kills them.
    - A longer `--timeout`, if slow requests are killed; better: `--threads`, or a task queue.
    - A higher `--max-requests`, with `--max-requests-jitter`.

    ${var.notify}
  EOT

  on_missing_data     = "default"
  require_full_window = true
  renotify_interval   = 60
  include_tags        = true
  notify_audit        = false
  new_group_delay     = 60

  monitor_thresholds {
    critical = 5
    warning  = 3
  }
}

resource "datadog_monitor" "gunicorn_loop_blocked" {
  name  = "[gunicorn] Event loops are blocked"
  type  = "query alert"
  query = "avg(last_10m):avg:gunicorn.loop.delay.max{*} by {env,service,app,bind}.rollup(max, 60) > 500"
  tags  = ["integration:gunicorn", "managed_by:gunicorn_backlog", "gunicorn_backlog:loop-blocked"]

  message = <<-EOT
    {{#is_alert}}
    Event loops of {{service.name}} ({{env.name}}, app {{app.name}}) at {{bind.name}} are blocked: ready callbacks wait {{value}} ms (the longest of each minute, averaged over ten); critical is {{threshold}} ms.
    {{/is_alert}}

    {{#is_warning}}
    Event loops of {{service.name}} ({{env.name}}, app {{app.name}}) at {{bind.name}} are blocked at times: ready callbacks wait {{value}} ms (the longest of each minute, averaged over ten); the warning comes at {{warn_threshold}} ms.
    {{/is_warning}}

    {{#is_recovery}}
    Event loops of {{service.name}} ({{env.name}}, app {{app.name}}) at {{bind.name}} run freely again: ready callbacks wait {{value}} ms at most.
    {{/is_recovery}}

    {{#is_no_data}}
    No data for {{service.name}} ({{env.name}}). See the monitor "gunicorn sends no metrics".
    {{/is_no_data}}

    **Why it matters**

    During a block the worker serves no request, no websocket and no health check. The app's own timings start after the block.

    **What to look at**

    - `gunicorn.workers.utilization`: near 100 % the loops have too much work; a low value means few long blocks.
    - `gunicorn.request.wait.max`: how long requests wait for a blocked loop.
    - `gunicorn.workers.timeout_used`: a block of gunicorn's `--timeout` ends with a killed worker.
    - The blocking call: asyncio's debug mode (`PYTHONASYNCIODEBUG=1`) logs callbacks over 100 ms; for gevent a profiler.

    **What to change**

    - Move blocking calls to a thread (`asyncio.to_thread`), or replace them by an async client.
    - Move computation to another process or a task queue.
    - More `--workers`, if the loops have too much work. See the monitor "Workers are saturated".

    ${var.notify}
  EOT

  on_missing_data     = "show_no_data"
  require_full_window = true
  renotify_interval   = 60
  include_tags        = true
  notify_audit        = false
  new_group_delay     = 60

  monitor_thresholds {
    critical = 500
    warning  = 250
  }
}

resource "datadog_monitor" "gunicorn_near_timeout" {
  name  = "[gunicorn] A worker is near its timeout"
  type  = "query alert"
  query = "max(last_5m):max:gunicorn.workers.timeout_used{*} by {env,service,app,host,bind} > 65"
  tags  = ["integration:gunicorn", "managed_by:gunicorn_backlog", "gunicorn_backlog:near-timeout"]

  message = <<-EOT
    {{#is_alert}}
    A worker of {{service.name}} ({{env.name}}, app {{app.name}}) at {{bind.name}} on {{host.name}} gave no heartbeat for {{value}} % of gunicorn's timeout. At 100 % gunicorn kills the worker.
    {{/is_alert}}

    {{#is_recovery}}
    The workers of {{service.name}} ({{env.name}}, app {{app.name}}) at {{bind.name}} on {{host.name}} give heartbeats again: the oldest used {{value}} % of gunicorn's timeout.
    {{/is_recovery}}

    {{#is_no_data}}
    No data for {{service.name}} ({{env.name}}). See the monitor "gunicorn sends no metrics".
    {{/is_no_data}}

    **Why it matters**

    The next request that takes a little longer ends with a killed worker, and its client gets no response. With an event loop the worker's other requests get none either.

    **What to look at**

    - `gunicorn.requests.oldest`: whether one request takes that long (sync), or the loop is blocked (async).
    - `gunicorn.loop.delay.max`: the length of the block of an event loop.
    - `gunicorn.workers.exited` by `reason`: `timeout` counts the workers that were killed.

    **What to change**

    - sync: a timeout for calls to databases and services, below gunicorn's `--timeout`; slow work in a task queue.
    - async: find the blocking call. See the monitor "Event loops are blocked".
    - A longer `--timeout`, if requests of this duration are wanted.

    ${var.notify}
  EOT

  on_missing_data     = "show_no_data"
  require_full_window = false
  renotify_interval   = 60
  include_tags        = true
  notify_audit        = false
  new_group_delay     = 60

  monitor_thresholds {
    critical = 65
  }
}

resource "datadog_monitor" "gunicorn_no_data" {
  name  = "[gunicorn] gunicorn sends no metrics"
  type  = "query alert"
  query = "max(last_5m):sum:gunicorn.workers{!app:*.2} by {env,service,app} < 1"
  tags  = ["integration:gunicorn", "managed_by:gunicorn_backlog", "gunicorn_backlog:no-data"]

  message = <<-EOT
    {{#is_alert}}
    {{service.name}} ({{env.name}}, app {{app.name}}) has had no worker for five minutes, although its arbiter runs.
    {{/is_alert}}

    {{#is_recovery}}
    {{service.name}} ({{env.name}}, app {{app.name}}) sends metrics again, with {{value}} workers.
    {{/is_recovery}}

    {{#is_no_data}}
    {{service.name}} ({{env.name}}, app {{app.name}}) has sent no metrics for five minutes: gunicorn does not run, or its pushes reach no Agent.
    {{/is_no_data}}

    **Why it matters**

    Either nobody answers requests, or all other monitors of this service are blind.

    **What to look at**

    - Whether the service answers: its load balancer, its health checks.
    - The Agent: `agent status`, section DogStatsD, and whether UDP 8125 or its socket can be reached from the pods (`dogstatsd_non_local_traffic`, `hostPort`, the mounted path).
    - gunicorn's log for a line of gunicorn_backlog: an unreachable Agent is logged once.
    - `DD_AGENT_HOST`, `DD_DOGSTATSD_URL`, `GUNICORN_BACKLOG_URL`, `GUNICORN_BACKLOG_ENABLED` of the deployment.

    **What to change**

    - If gunicorn is down: start it again, or roll back the latest deployment.
    - If workers do not boot: the app's import, its memory, `--timeout`.
    - If only the metrics are missing: the Agent's address, or the hooks in `gunicorn.conf.py`.
    - If the service was retired: mute its group, until Datadog drops it.

    ${var.notify}
  EOT

  on_missing_data     = "show_and_notify_no_data"
  require_full_window = false
  renotify_interval   = 30
  include_tags        = true
  notify_audit        = false
  new_group_delay     = 60

  monitor_thresholds {
    critical = 1
  }
}

resource "datadog_monitor" "gunicorn_not_running" {
  name  = "[gunicorn] gunicorn is not running"
  type  = "service check"
  query = "\"gunicorn.is_running\".over(\"*\").by(\"env\",\"service\",\"host\",\"bind\").last(2).count_by_status()"
  tags  = ["integration:gunicorn", "managed_by:gunicorn_backlog", "gunicorn_backlog:not-running"]

  message = <<-EOT
    {{#is_alert}}
    gunicorn of {{service.name}} ({{env.name}}) at {{bind.name}} on {{host.name}} shut down, or has no worker left.
    {{/is_alert}}

    {{#is_recovery}}
    gunicorn of {{service.name}} ({{env.name}}) at {{bind.name}} on {{host.name}} runs again.
    {{/is_recovery}}

    {{#is_no_data}}
    gunicorn of {{service.name}} ({{env.name}}) at {{bind.name}} on {{host.name}} sends no metrics: it was killed, or its pushes do not reach the Agent.
    {{/is_no_data}}

    **Why it matters**

    No request is served there. After the last server's end clients get errors; before that the load moves to the other servers.

    **What to look at**

    - The service manager's or the kubelet's events: who stopped it, and with which exit code.
    - gunicorn's log: why workers do not boot, such as an import that fails.
    - `gunicorn.workers.spawned`: whether gunicorn forks workers repeatedly.

    **What to change**

    - Start the server again, and let systemd or Kubernetes restart it (`Restart=always`, `restartPolicy: Always`).
    - If the host was removed on purpose, mute it. Where an autoscaler removes hosts, leave this monitor out and keep "gunicorn sends no metrics".
    - More replicas, if users notice the end of one.

    ${var.notify}
  EOT

  notify_no_data    = true
  no_data_timeframe = 5
  renotify_interval = 30
  notify_audit      = false

  monitor_thresholds {
    critical = 1
    warning  = 1
    ok       = 1
  }
}

resource "datadog_monitor" "gunicorn_pool_full" {
  name  = "[gunicorn] Thread pool is full"
  type  = "query alert"
  query = "avg(last_5m):sum:gunicorn.threads.queued{*} by {env,service,app,bind,pool} / sum:gunicorn.threads{*} by {env,service,app,bind,pool} * 100 > 100"
  tags  = ["integration:gunicorn", "managed_by:gunicorn_backlog", "gunicorn_backlog:pool-full"]

  message = <<-EOT
    {{#is_alert}}
    The thread pool {{pool.name}} of {{service.name}} ({{env.name}}, app {{app.name}}) at {{bind.name}} is full: the queued calls are {{value}} % of its threads; critical is {{threshold}} %.
    {{/is_alert}}

    {{#is_warning}}
    The thread pool {{pool.name}} of {{service.name}} ({{env.name}}, app {{app.name}}) at {{bind.name}} is nearly full: the queued calls are {{value}} % of its threads; the warning comes at {{warn_threshold}} %.
    {{/is_warning}}

    {{#is_recovery}}
    The thread pool {{pool.name}} of {{service.name}} ({{env.name}}, app {{app.name}}) at {{bind.name}} has free threads again: the queued calls are {{value}} % of its threads.
    {{/is_recovery}}

    {{#is_no_data}}
    No data for {{service.name}} ({{env.name}}). See the monitor "gunicorn sends no metrics".
    {{/is_no_data}}

    **Why it matters**

    At 100 % a call waits as long as it takes, which doubles the time of a response. No CPU metric and no event loop shows this.

    **What to look at**

    - `gunicorn.threads` by `pool` and `state`, and `gunicorn.threads.queued`: since when the pool is full.
    - The calls in the pool: a database or a service that became slower holds the threads longer.
    - `gunicorn.workers.utilization`: for event loops a low value confirms that the pool is the limit.

    **What to change**

    - `gthread`: more `--threads`, or more replicas.
    - `anyio` (Starlette, FastAPI): raise `total_tokens` of the default thread limiter.
    - `default`: `loop.set_default_executor` with more threads.
    - `asgiref` (Django): one thread per request; replace blocking calls by async ones.
    - `gevent`: raise `threadpool_size`.

    ${var.notify}
  EOT

  on_missing_data     = "show_no_data"
  require_full_window = true
  renotify_interval   = 30
  include_tags        = true
  notify_audit        = false
  new_group_delay     = 60

  monitor_thresholds {
    critical = 100
    warning  = 50
  }
}

resource "datadog_monitor" "gunicorn_requests_stranded" {
  name  = "[gunicorn] Requests are stranded"
  type  = "query alert"
  query = "avg(last_10m):max:gunicorn.requests.stranded{*} by {env,service,app,host,bind}.rollup(max, 30) > 0.5"
  tags  = ["integration:gunicorn", "managed_by:gunicorn_backlog", "gunicorn_backlog:requests-stranded"]

  message = <<-EOT
    {{#is_alert}}
    Requests to {{service.name}} ({{env.name}}, app {{app.name}}) at {{bind.name}} on {{host.name}} wait for a full worker while another worker is free: {{value}} requests (the maximum of each half minute, averaged over ten minutes).
    {{/is_alert}}

    {{#is_recovery}}
    Requests to {{service.name}} ({{env.name}}, app {{app.name}}) at {{bind.name}} on {{host.name}} no longer wait while another worker is free: {{value}} requests (the maximum of each half minute, averaged over ten minutes).
    {{/is_recovery}}

    {{#is_no_data}}
    No data for {{service.name}} ({{env.name}}). See the monitor "gunicorn sends no metrics".
    {{/is_no_data}}

    **Why it matters**

    These clients wait although the server has capacity. More workers help less than a better distribution.

    **What to look at**

    - `gunicorn.request.wait.95percentile`: how long requests wait.
    - `gunicorn.workers.busiest` against `gunicorn.workers.utilization`: how uneven the load is.
    - Whether a few requests take much longer than the others: these fill one worker.

    **What to change**

    - gthread: fewer `--workers` with more `--threads` each, since the threads of a worker share a queue.
    - gthread: a lower `--worker-connections`, so that a full worker accepts fewer connections.
    - Without `--reuse-port` all workers share one queue.

    ${var.notify}
  EOT

  on_missing_data     = "show_no_data"
  require_full_window = true
  renotify_interval   = 60
  include_tags        = true
  notify_audit        = false
  new_group_delay     = 60

  monitor_thresholds {
    critical = 0.5
  }
}

resource "datadog_monitor" "gunicorn_requests_waiting" {
  name  = "[gunicorn] Requests wait for a worker"
  type  = "query alert"
  query = "avg(last_10m):avg:gunicorn.request.wait.95percentile{*} by {env,service,app,bind}.rollup(max, 120) > 1000"
  tags  = ["integration:gunicorn", "managed_by:gunicorn_backlog", "gunicorn_backlog:requests-waiting"]

  message = <<-EOT
    {{#is_alert}}
    Requests to {{service.name}} ({{env.name}}, app {{app.name}}) at {{bind.name}} wait {{value}} ms before a worker takes them (95th percentile; the longest of two minutes, on average of ten); critical is {{threshold}} ms.
    {{/is_alert}}

    {{#is_warning}}
    Requests to {{service.name}} ({{env.name}}, app {{app.name}}) at {{bind.name}} wait {{value}} ms before a worker takes them (95th percentile; the longest of two minutes, on average of ten); the warning comes at {{warn_threshold}} ms.
    {{/is_warning}}

    {{#is_recovery}}
    Requests to {{service.name}} ({{env.name}}, app {{app.name}}) at {{bind.name}} wait less again: {{value}} ms (95th percentile; the longest of two minutes, on average of ten).
    {{/is_recovery}}

    {{#is_no_data}}
    No data for {{service.name}} ({{env.name}}). See the monitor "gunicorn sends no metrics".
    {{/is_no_data}}

    **Why it matters**

    Clients wait this long in addition to the app's own timings. The ingress measures the wait, the app does not.

    **What to look at**

    - `gunicorn.workers.utilization`: near 100 % all workers, threads or event loops are busy.
    - `gunicorn.threads.queued`: with gthread, requests wait in the worker while the kernel's backlog is 0.
    - `gunicorn.request.wait.count`: whether there are more requests than usual, or fewer and slower ones.
    - Whether a few slow requests hold the workers: the app's own timings.

    **What to change**

    - More replicas or `--workers`; `--threads` if requests mostly wait for something else.
    - Separate slow requests from fast ones: a server of their own, or a task queue.
    - The thresholds of this monitor, if your users accept more or less than a second.

    ${var.notify}
  EOT

  on_missing_data     = "show_no_data"
  require_full_window = true
  renotify_interval   = 60
  include_tags        = true
  notify_audit        = false
  new_group_delay     = 60

  monitor_thresholds {
    critical = 1000
    warning  = 500
  }
}

resource "datadog_monitor" "gunicorn_saturated_workers" {
  name  = "[gunicorn] Workers are saturated"
  type  = "query alert"
  query = "avg(last_10m):avg:gunicorn.workers.utilization{*} by {env,service,app,bind} > 90"
  tags  = ["integration:gunicorn", "managed_by:gunicorn_backlog", "gunicorn_backlog:saturated-workers"]

  message = <<-EOT
    {{#is_alert}}
    Workers of {{service.name}} ({{env.name}}, app {{app.name}}) at {{bind.name}} were busy {{value}} % of the last ten minutes; critical is {{threshold}} %.
    {{/is_alert}}

    {{#is_warning}}
    Workers of {{service.name}} ({{env.name}}, app {{app.name}}) at {{bind.name}} were busy {{value}} % of the last ten minutes; the warning comes at {{warn_threshold}} %.
    {{/is_warning}}

    {{#is_recovery}}
    Workers of {{service.name}} ({{env.name}}, app {{app.name}}) at {{bind.name}} have free time again: busy {{value}} % of the last ten minutes.
    {{/is_recovery}}

    {{#is_no_data}}
    No data for {{service.name}} ({{env.name}}). See the monitor "gunicorn sends no metrics".
    {{/is_no_data}}

    **Why it matters**

    Near 100 % a request finds no free worker, thread or event loop, and waits in a queue. Neither CPU nor the app's timings show this wait.

    **What to look at**

    - `gunicorn.request.wait.95percentile`, and for event loops `gunicorn.loop.delay.95percentile`: the present wait.
    - `gunicorn.backlog.max` and `gunicorn.threads.queued`: how many wait, in the kernel and in gthread's workers.
    - `gunicorn.requests.begun`: more requests than before, or slower ones (a database, another service).
    - CPU: busy sync workers or threads with low CPU wait for something else. A busy event loop with low CPU is blocked by a call that waits.

    **What to change**

    - sync, gthread: if CPU is low, more `--workers` or `--threads`.
    - If CPU is high: more replicas, and scale on this metric. One event loop uses one CPU at most: as many `--workers` as CPUs.
    - If requests became slower: repair that first. More workers only move the queue.

    ${var.notify}
  EOT

  on_missing_data     = "show_no_data"
  require_full_window = true
  renotify_interval   = 60
  include_tags        = true
  notify_audit        = false
  new_group_delay     = 60

  monitor_thresholds {
    critical = 90
    warning  = 80
  }
}

resource "datadog_monitor" "gunicorn_workers_killed" {
  name  = "[gunicorn] Workers are killed"
  type  = "query alert"
  query = "sum(last_5m):sum:gunicorn.workers.exited{!reason:asked,!reason:recycled,!reason:boot,!reason:unknown} by {env,service,app,bind,reason}.as_count() > 0"
  tags  = ["integration:gunicorn", "managed_by:gunicorn_backlog", "gunicorn_backlog:workers-killed"]

  message = <<-EOT
    {{#is_alert}}
    {{value}} workers of {{service.name}} ({{env.name}}, app {{app.name}}) at {{bind.name}} exited in the last five minutes. Cause: {{reason.name}}.
    {{/is_alert}}

    {{#is_recovery}}
    No worker of {{service.name}} ({{env.name}}, app {{app.name}}) at {{bind.name}} exited in the last five minutes. Former cause: {{reason.name}}.
    {{/is_recovery}}

    {{#is_no_data}}
    No data for {{service.name}} ({{env.name}}). See the monitor "gunicorn sends no metrics".
    {{/is_no_data}}

    **Why it matters**

    Clients of the worker's requests get no response. With one request at a time this is one request; with threads or an event loop all requests of the worker.

    **What to look at**

    - `timeout`: gunicorn's log has `WORKER TIMEOUT`. `gunicorn.workers.timeout_used` and `gunicorn.requests.oldest` show the time before.
    - `oom`: the memory of the container or host against its limit.
    - `killed`: a SIGKILL, SIGTERM or SIGINT from outside, for example an operator or a supervisor.
    - `crashed`: another signal (SIGSEGV of a native extension) or an exit code of the app.

    **What to change**

    - `timeout`: give slow calls a timeout below gunicorn's, or raise `--timeout`.
    - `oom`: more memory, fewer `--workers`, or `--max-requests` against a leak.
    - `crashed`: run with `python -X faulthandler`, and update the native extension that it names.

    ${var.notify}
  EOT

  on_missing_data     = "resolve"
  require_full_window = false
  renotify_interval   = 30
  include_tags        = true
  notify_audit        = false
  new_group_delay     = 60

  monitor_thresholds {
    critical = 0
  }
}
