-- A counted body of 16 KiB; static, so wrk formats it once.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/octet-stream"
wrk.body = string.rep("0123456789abcdef", 1024)
