# fastgate in a container: a wheel is built in one stage and installed in another,
# which has neither compiler nor sources and does not run as root.
#
#   docker build -t fastgate .
#   docker run --rm -p 8080:8080 -v ./fastgate.toml:/etc/fastgate/fastgate.toml:ro fastgate

FROM python:3.13-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev
COPY setup.py pyproject.toml README.md LICENSE /src/
COPY fastgate /src/fastgate
RUN pip wheel --no-cache-dir --wheel-dir /wheels /src

FROM python:3.13-slim-bookworm
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links /wheels fastgate
RUN useradd --system --no-create-home --shell /usr/sbin/nologin fastgate \
    && install -d -o fastgate -g fastgate /etc/fastgate /run/fastgate
USER fastgate
EXPOSE 8080
# A graceful stop: give it longer than `drain`, `docker stop --time 40`.
STOPSIGNAL SIGTERM
ENTRYPOINT ["fastgate"]
CMD ["run", "-c", "/etc/fastgate/fastgate.toml"]
