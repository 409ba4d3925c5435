# mmzoo on the CPU: its command line, with the packages that a run and its verification need.
# Not built in continuous integration.
#
#   docker build -t mmzoo .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD/build:/build" mmzoo \
#     run concepts --fusion interactive --formats all --out /build/demo
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD/build:/build" mmzoo verify /build/demo
FROM python:3.11-slim

COPY . /source
RUN pip install --no-cache-dir "/source[openvino]" && rm -rf /source

# Any user may run it: caches go where all can write.
ENV HOME=/tmp TF_CPP_MIN_LOG_LEVEL=3
WORKDIR /build
ENTRYPOINT ["mmzoo"]
CMD ["--help"]
