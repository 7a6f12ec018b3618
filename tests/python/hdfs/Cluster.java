import java.util.Scanner;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.permission.FsPermission;
import org.apache.hadoop.hdfs.MiniDFSCluster;

/** HDFS in one process, in the directory named: prints its address; a line read restarts the NameNode; ends with its input. */
public class Cluster {
  public static void main(String[] arguments) throws Exception {
    var conf = new Configuration();
    conf.set(MiniDFSCluster.HDFS_MINIDFS_BASEDIR, arguments[0]);
    try (var cluster = new MiniDFSCluster.Builder(conf).numDataNodes(1).build(); var lines = new Scanner(System.in)) {
      cluster.waitActive();
      cluster.getFileSystem().setPermission(new Path("/"), new FsPermission((short) 0777));
      System.out.println("hdfs://" + cluster.getNameNode().getHostAndPort());
      while (lines.hasNextLine()) {
        lines.nextLine();
        cluster.restartNameNode(true);
        System.out.println("restarted");
      }
    }
    System.exit(0);
  }
}
