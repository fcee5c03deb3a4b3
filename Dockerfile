# A node. What it keeps on its disk lies in /data; with a PostgreSQL database it keeps nothing there.

FROM python:3.13-slim AS build
WORKDIR /build
COPY requirements/build.txt requirements/server.txt requirements/
RUN python -m venv /opt/fastpaca
RUN /opt/fastpaca/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt -r requirements/server.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /opt/fastpaca/bin/pip install --no-cache-dir --no-deps --no-build-isolation .
RUN /opt/fastpaca/bin/pip uninstall --yes flit_core pip

FROM python:3.13-slim
COPY --from=build /opt/fastpaca /opt/fastpaca
# A volume that is made here belongs to whom the directory belongs to.
RUN install -d -m 700 -o 10001 -g 10001 /data
USER 10001:10001
ENV PATH=/opt/fastpaca/bin:$PATH
# Inside of a container, loopback would be reached by nobody.
ENV FASTPACA_HOST=0.0.0.0
ENV FASTPACA_DATA_DIR=/data
# They let glibc give back what large bodies have taken.
ENV MALLOC_MMAP_THRESHOLD_=131072
ENV MALLOC_ARENA_MAX=2
VOLUME /data
EXPOSE 4000
STOPSIGNAL SIGTERM
# It asks at the PORT and FASTPACA_HOST of the node.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["fastpaca", "health"]
ENTRYPOINT ["fastpaca"]
CMD ["serve"]
