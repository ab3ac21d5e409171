-- Each statement makes what is not there yet. Users are known by the socket, as system users of the same name.
SELECT 'CREATE ROLE sealwright LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'sealwright') \gexec
SELECT 'CREATE ROLE prometheus LOGIN IN ROLE pg_monitor'
  WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'prometheus') \gexec
SELECT 'CREATE DATABASE sealwright OWNER sealwright ENCODING ''UTF8'' LOCALE ''C.UTF-8'' TEMPLATE template0'
  WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'sealwright') \gexec
